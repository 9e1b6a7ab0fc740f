//! Tags in this process.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Tags with which a value was stored. An invalidated tag stays invalid: later values get a new tag of the same
/// name.
#[derive(Clone, Default)]
pub(crate) struct Tags(Option<Arc<[Arc<AtomicBool>]>>);

impl Tags {
    pub(crate) fn are_valid(&self) -> bool {
        self.0.as_deref().unwrap_or_default().iter().all(|invalid| !invalid.load(Ordering::Acquire))
    }
}

/// All tags in use, by name.
#[derive(Default)]
pub(crate) struct TagTable(Mutex<TagsByName>);

#[derive(Default)]
struct TagsByName {
    tags: HashMap<String, Arc<AtomicBool>>,
    /// Number of tags from which on tags without values are removed.
    sweep_at: usize,
}

impl TagTable {
    pub(crate) fn get(&self, names: &[String]) -> Tags {
        if names.is_empty() {
            return Tags::default();
        }
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if named.tags.len() >= named.sweep_at.max(256) {
            named.tags.retain(|_, tag| Arc::strong_count(tag) > 1);
            named.sweep_at = named.tags.len() * 2;
        }
        Tags(Some(names.iter().map(|name| Arc::clone(named.tags.entry(name.clone()).or_default())).collect()))
    }

    pub(crate) fn invalidate(&self, name: &str) {
        let tag = self.0.lock().unwrap_or_else(PoisonError::into_inner).tags.remove(name);
        if let Some(tag) = tag {
            tag.store(true, Ordering::Release);
        }
    }
}
