//! References of flags to their prerequisites and segments, resolved once for all flags.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::{FlagDefinition, Segment};
use omnistack_core::http::FieldError;

/// Index of flags and segments by name, and the flags whose prerequisites form a cycle. Building it takes time
/// linear in the number of flags, prerequisites and segments.
pub(super) struct References<'a> {
    flags: HashMap<&'a str, usize, RandomState>,
    segments: HashMap<&'a str, &'a Segment, RandomState>,
    /// Whether each flag, by index, is part of a cycle or depends on one.
    in_cycle: Vec<bool>,
}

impl<'a> References<'a> {
    /// Indexes flags and segments. Of several flags with the same key, the last one is used.
    pub(super) fn new(
        flags: impl IntoIterator<Item = &'a FlagDefinition>,
        segments: impl IntoIterator<Item = &'a Segment>,
    ) -> Self {
        let definitions: Vec<_> = flags.into_iter().collect();
        let flags: HashMap<_, _, _> =
            definitions.iter().enumerate().map(|(at, flag)| (flag.key.as_str(), at)).collect();
        let segments = segments.into_iter().map(|segment| (segment.name.as_str(), segment)).collect();
        let circles = find_cycles(&definitions, &flags);
        Self { flags, segments, in_cycle: circles }
    }

    /// Returns the index of a flag.
    pub(super) fn flag(&self, key: &str) -> Option<usize> {
        self.flags.get(key).copied()
    }

    pub(super) fn segment(&self, name: &str) -> Option<&'a Segment> {
        self.segments.get(name).copied()
    }

    /// Returns whether the prerequisites of the flag at this index form a cycle, or depend on flags in one.
    pub(super) fn is_in_cycle(&self, at: usize) -> bool {
        self.in_cycle.get(at).copied().unwrap_or_default()
    }

    /// Returns the problems of a flag's references: prerequisites and segments that do not exist, and
    /// prerequisites that form a cycle.
    pub(super) fn problems(&self, flag: &FlagDefinition) -> Vec<FieldError> {
        let mut problems = Vec::new();
        for (number, parent) in flag.parents.iter().enumerate() {
            let field = format!("parents[{number}].key");
            match self.flag(&parent.key) {
                None => problems.push(FieldError::new(field, "must be the key of an existing flag")),
                Some(at) if self.is_in_cycle(at) => {
                    problems.push(FieldError::new(field, "must not lead to a cycle of flags"));
                }
                Some(_) => {}
            }
        }
        for (number, rule) in flag.rules.iter().enumerate() {
            for (place, name) in rule.segments.iter().enumerate() {
                if self.segment(name).is_none() {
                    problems.push(FieldError::new(format!("rules[{number}].segments[{place}]"), "must name a segment"));
                }
            }
        }
        problems
    }
}

/// Returns whether each flag is part of a cycle or depends on one. Flags are removed from the graph after their
/// last prerequisite, each once; those that remain depend on a cycle.
fn find_cycles(definitions: &[&FlagDefinition], flags: &HashMap<&str, usize, RandomState>) -> Vec<bool> {
    let mut open = vec![0_usize; definitions.len()];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); definitions.len()];
    for (at, definition) in definitions.iter().enumerate() {
        for parent in definition.parents.iter().filter_map(|parent| flags.get(parent.key.as_str())) {
            open[at] += 1;
            children[*parent].push(at);
        }
    }
    let mut ends: Vec<_> = (0..definitions.len()).filter(|at| open[*at] == 0).collect();
    while let Some(at) = ends.pop() {
        for child in std::mem::take(&mut children[at]) {
            open[child] -= 1;
            if open[child] == 0 {
                ends.push(child);
            }
        }
    }
    open.into_iter().map(|parents| parents > 0).collect()
}
