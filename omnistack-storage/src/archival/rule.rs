//! Which files are archived.

use std::time::Duration;

use omnistack_core::clock::Timestamp;

use crate::{File, config::ArchivalSettings, sniff};

/// Which files the clock archives: those for which all of this holds. Of several rules, one is enough.
///
/// ```
/// use std::time::Duration;
///
/// use omnistack_storage::{ArchiveRule, Files};
///
/// let day = Duration::from_secs(24 * 60 * 60);
/// let files = Files::from_env()
///     .archive_when(ArchiveRule::after(day * 180))
///     .archive_when(ArchiveRule::after(day * 7).prefix("export-"))
///     .archive_when(ArchiveRule::default().tag("archive"));
/// # let _ = files;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ArchiveRule {
    after: Duration,
    types: Vec<String>,
    prefixes: Vec<String>,
    tags: Vec<String>,
}

impl ArchiveRule {
    /// Files older than this.
    pub fn after(age: Duration) -> Self {
        Self { after: age, ..Self::default() }
    }

    /// Of this media type, such as `video/*`; of several, one is enough.
    pub fn media_type(mut self, pattern: impl Into<String>) -> Self {
        self.types.push(pattern.into());
        self
    }

    /// With a name that begins so; of several, one is enough.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// Marked with this; of several, one is enough.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// How old files are at least.
    pub fn age(&self) -> Duration {
        self.after
    }

    /// What the settings say, if they say anything.
    pub(crate) fn of(settings: &ArchivalSettings) -> Option<Self> {
        let ArchivalSettings { after, types, prefixes, tags, .. } = settings.clone();
        let said = after.is_some() || !prefixes.is_empty() || !tags.is_empty();
        said.then(|| Self { after: after.unwrap_or_default(), types, prefixes, tags })
    }

    pub(crate) fn takes(&self, file: &File, now: Timestamp) -> bool {
        let one = |list: &[String], is: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(is);
        file.created_at < now - self.after
            && sniff::is_taken(&self.types, &file.content_type)
            && one(&self.prefixes, &|prefix| file.name.starts_with(prefix.as_str()))
            && one(&self.tags, &|tag| file.tags.contains(tag))
    }
}
