//! Rules that select the files to archive.

use std::time::Duration;

use omnistack_core::clock::Timestamp;

use crate::{File, config::ArchivalSettings, sniff};

/// A rule that selects files to archive every night. A file matches if all conditions of the rule hold; it is
/// archived if one of the rules matches.
///
/// ```
/// use std::time::Duration;
///
/// use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{Archival, ArchiveRule, Files, Memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let year = Duration::from_secs(365 * 24 * 60 * 60);
/// let videos = ArchiveRule::older_than(year).media_type("video/*");
/// let exports = ArchiveRule::older_than(year / 4).prefix("export-").tag("archive");
/// let files = Files::new(Memory::default()).archive_rule(videos).archive_rule(exports);
///
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(DevIdentity::default()).with(files).build()?;
/// let archival: Archival = app.context().get()?;
/// assert_eq!(archival.min_age(), Some(year / 4));
/// # Ok(())
/// # }
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
    /// Creates a rule for files older than an age.
    pub fn older_than(age: Duration) -> Self {
        Self { after: age, ..Self::default() }
    }

    /// Adds a media type, such as `video/*`. A file needs one of the added types; without any, all types match.
    pub fn media_type(mut self, pattern: impl Into<String>) -> Self {
        self.types.push(pattern.into());
        self
    }

    /// Adds a prefix of file names. A file needs one of the added prefixes; without any, all names match.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// Adds a tag. A file needs one of the added tags; without any, all files match.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Returns the age above which files match.
    pub fn min_age(&self) -> Duration {
        self.after
    }

    /// Returns the rule of the settings, if they set an age, a prefix or a tag.
    pub(crate) fn from_settings(settings: &ArchivalSettings) -> Option<Self> {
        let ArchivalSettings { after, types, prefixes, tags, .. } = settings.clone();
        let said = after.is_some() || !prefixes.is_empty() || !tags.is_empty();
        said.then(|| Self { after: after.unwrap_or_default(), types, prefixes, tags })
    }

    /// Returns whether a file matches the rule.
    pub(crate) fn matches(&self, file: &File, now: Timestamp) -> bool {
        let one = |list: &[String], is: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(is);
        file.created_at < now - self.after
            && sniff::matches_any(&self.types, &file.content_type)
            && one(&self.prefixes, &|prefix| file.name.starts_with(prefix.as_str()))
            && one(&self.tags, &|tag| file.tags.contains(tag))
    }
}
