//! Errors that are not stored yet: exact counts, and some of the details.

use std::collections::{HashMap, HashSet};

use omnistack_core::identity::TenantId;
use uuid::Uuid;

use super::{
    fingerprint,
    model::{ErrorGroupId, ErrorOriginKind, ErrorSeverity, Signal},
};

/// Largest number of different groups that a process records in a day. Errors of other groups count for the overflow
/// group of their origin.
pub(super) const MAX_GROUPS_PER_DAY: usize = 2_000;

/// Largest number of counters between two flushes. Errors beyond it count for the overflow group of their origin.
pub(super) const MAX_COUNTERS: usize = 8_192;

/// Largest number of users and tenants that are recorded between two flushes.
const MAX_AFFECTED: usize = 8_192;

/// Largest number of samples of a group between two flushes.
const MAX_SAMPLES_PER_GROUP: u32 = 3;

/// Largest number of samples between two flushes.
const MAX_SAMPLES: usize = 200;

/// The length of a day, in microseconds.
const DAY_MICROS: i64 = 86_400_000_000;

/// The dimensions by which errors are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CounterKey {
    pub(super) group: ErrorGroupId,
    /// The beginning of the hour, in microseconds since 1970.
    pub(super) hour: i64,
    pub(super) origin: ErrorOriginKind,
    pub(super) operation: String,
    pub(super) tenant: Option<TenantId>,
}

/// A user or tenant that the errors of a group affect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum AffectedKind {
    User,
    Tenant,
}

impl AffectedKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tenant => "tenant",
        }
    }
}

/// The errors of a group that are not stored yet.
#[derive(Clone, Debug)]
pub(super) struct PendingGroup {
    pub(super) fingerprint: String,
    pub(super) origin: ErrorOriginKind,
    pub(super) code: String,
    pub(super) title: String,
    pub(super) severity: ErrorSeverity,
    pub(super) signal: Option<Signal>,
    pub(super) first_seen: i64,
    pub(super) last_seen: i64,
    pub(super) errors: u64,
    samples: u32,
}

/// One of the latest errors of a group.
#[derive(Clone, Debug)]
pub(super) struct PendingSample {
    pub(super) group: ErrorGroupId,
    pub(super) at: i64,
    pub(super) operation: String,
    pub(super) tenant: Option<TenantId>,
    pub(super) message: String,
    pub(super) request_id: Option<String>,
    pub(super) trace_id: Option<String>,
}

/// An error, as it is counted.
#[derive(Debug)]
pub(super) struct CountedError {
    pub(super) fingerprint: String,
    pub(super) origin: ErrorOriginKind,
    pub(super) code: String,
    pub(super) severity: ErrorSeverity,
    pub(super) signal: Option<Signal>,
    /// The time, in microseconds since 1970.
    pub(super) at: i64,
    /// The beginning of its hour.
    pub(super) hour: i64,
    pub(super) operation: String,
    pub(super) tenant: Option<TenantId>,
    pub(super) user: Option<Uuid>,
}

/// The counts and samples that one flush stores.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) groups: HashMap<ErrorGroupId, PendingGroup>,
    pub(super) counters: HashMap<CounterKey, u64>,
    /// Group, kind, and hash of the user or tenant.
    pub(super) affected: HashSet<(ErrorGroupId, AffectedKind, Uuid)>,
    pub(super) samples: Vec<PendingSample>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// Counts errors of a group. Returns the group for which they count, which is the overflow group if there are too
    /// many counters.
    fn count(&mut self, key: CounterKey, errors: u64, group: impl FnOnce() -> PendingGroup) -> ErrorGroupId {
        let is_full = self.counters.len() >= MAX_COUNTERS && !self.counters.contains_key(&key);
        let (key, group) = if is_full {
            let group = group();
            let overflow = overflow_group(group.origin, group.last_seen);
            let id = fingerprint::group_id(&overflow.fingerprint);
            let operation = "overflow".to_owned();
            (CounterKey { group: id, hour: key.hour, origin: key.origin, operation, tenant: None }, Ok(overflow))
        } else {
            (key, Err(group))
        };
        let id = key.group;
        *self.counters.entry(key).or_default() += errors;
        let pending = self.groups.entry(id).or_insert_with(|| match group {
            Ok(overflow) => overflow,
            Err(group) => PendingGroup { errors: 0, ..group() },
        });
        pending.errors += errors;
        id
    }

    /// Adds a batch that could not be stored.
    pub(super) fn merge(&mut self, older: Self) {
        for (key, errors) in older.counters {
            let Some(group) = older.groups.get(&key.group) else { continue };
            let id = self.count(key, errors, || group.clone());
            if let Some(pending) = self.groups.get_mut(&id) {
                pending.first_seen = pending.first_seen.min(group.first_seen);
                pending.last_seen = pending.last_seen.max(group.last_seen);
            }
        }
        let room = MAX_AFFECTED.saturating_sub(self.affected.len());
        self.affected.extend(older.affected.into_iter().take(room));
        let room = MAX_SAMPLES.saturating_sub(self.samples.len());
        self.samples.extend(older.samples.into_iter().take(room));
    }
}

/// The errors of a process: what is to be stored, and the groups of the day.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    batch: Batch,
    known: HashSet<ErrorGroupId>,
    /// The beginning of the day of `known`, in microseconds since 1970.
    day: i64,
}

impl Buffer {
    /// Counts an error. Returns its group if a sample is wanted. `title` creates the title of a group that is not in
    /// the batch.
    pub(super) fn add(&mut self, error: &CountedError, title: impl FnOnce() -> String) -> Option<ErrorGroupId> {
        let group = self.group(error);
        let origin = error.origin;
        let key = CounterKey {
            group: group.unwrap_or_else(|| fingerprint::group_id(&fingerprint::overflow(origin))),
            hour: error.hour,
            origin,
            operation: if group.is_some() { error.operation.clone() } else { "overflow".to_owned() },
            tenant: error.tenant,
        };
        let id = self.batch.count(key, 1, || match group {
            None => overflow_group(origin, error.at),
            Some(_) => PendingGroup {
                fingerprint: error.fingerprint.clone(),
                origin,
                code: error.code.clone(),
                title: title(),
                severity: error.severity,
                signal: error.signal,
                first_seen: error.at,
                last_seen: error.at,
                errors: 0,
                samples: 0,
            },
        });
        let subjects =
            [(AffectedKind::User, error.user), (AffectedKind::Tenant, error.tenant.map(|tenant| tenant.uuid()))];
        for (kind, subject) in subjects {
            if let Some(subject) = subject.filter(|_| self.batch.affected.len() < MAX_AFFECTED) {
                self.batch.affected.insert((id, kind, fingerprint::subject(id, subject)));
            }
        }
        let pending = self.batch.groups.get_mut(&id)?;
        pending.first_seen = pending.first_seen.min(error.at);
        pending.last_seen = pending.last_seen.max(error.at);
        if pending.samples >= MAX_SAMPLES_PER_GROUP || self.batch.samples.len() >= MAX_SAMPLES {
            return None;
        }
        pending.samples += 1;
        Some(id)
    }

    /// Returns the group of an error. Returns `None` if the process records too many groups.
    fn group(&mut self, error: &CountedError) -> Option<ErrorGroupId> {
        let day = error.at - error.at.rem_euclid(DAY_MICROS);
        if day > self.day {
            self.day = day;
            self.known.clear();
        }
        let id = fingerprint::group_id(&error.fingerprint);
        if self.known.len() >= MAX_GROUPS_PER_DAY && !self.known.contains(&id) {
            return None;
        }
        self.known.insert(id);
        Some(id)
    }

    pub(super) fn add_sample(&mut self, sample: PendingSample) {
        self.batch.samples.push(sample);
    }

    /// Takes what is to be stored.
    pub(super) fn take(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// Returns a batch that could not be stored.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.batch.merge(batch);
    }
}

fn overflow_group(origin: ErrorOriginKind, at: i64) -> PendingGroup {
    PendingGroup {
        fingerprint: fingerprint::overflow(origin),
        origin,
        code: "OVERFLOW".into(),
        title: "errors beyond the number of groups that are tracked".into(),
        severity: ErrorSeverity::Error,
        signal: None,
        first_seen: at,
        last_seen: at,
        errors: 0,
        samples: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fingerprint: &str, at: i64) -> CountedError {
        CountedError {
            fingerprint: fingerprint.into(),
            origin: ErrorOriginKind::Job,
            code: "JOB_FAILED".into(),
            severity: ErrorSeverity::Error,
            signal: None,
            at,
            hour: 0,
            operation: "ship".into(),
            tenant: None,
            user: Some(Uuid::from_u128(7)),
        }
    }

    #[test]
    fn all_errors_are_counted_and_few_are_sampled() {
        let mut buffer = Buffer::default();
        let samples = (0..1_000).filter(|at| buffer.add(&error("a", *at), || "title".into()).is_some()).count();
        let batch = buffer.take();
        assert_eq!((samples, batch.counters.len(), batch.affected.len()), (3, 1, 1));
        let group = batch.groups.values().next().unwrap();
        assert_eq!((group.errors, group.first_seen, group.last_seen), (1_000, 0, 999));
        assert!(buffer.take().is_empty());
    }

    #[test]
    fn errors_beyond_the_limits_count_for_the_overflow_group() {
        let mut buffer = Buffer::default();
        for number in 0..MAX_GROUPS_PER_DAY + 5 {
            buffer.add(&error(&format!("group {number}"), 0), String::new);
        }
        let batch = buffer.take();
        let overflow = fingerprint::group_id(&fingerprint::overflow(ErrorOriginKind::Job));
        assert_eq!(batch.groups[&overflow].errors, 5);
        assert_eq!(batch.groups.len(), MAX_GROUPS_PER_DAY + 1);
        buffer.add(&error("the next day", DAY_MICROS), String::new);
        assert!(!buffer.take().groups.contains_key(&overflow));
    }

    #[test]
    fn a_batch_that_is_put_back_loses_no_error() {
        let mut buffer = Buffer::default();
        for number in 0..MAX_COUNTERS + 7 {
            let mut error = error("a", 0);
            error.operation = number.to_string();
            buffer.add(&error, String::new);
        }
        let failed = buffer.take();
        assert!(failed.counters.len() <= MAX_COUNTERS + 1);
        buffer.add(&error("b", 5), String::new);
        buffer.put_back(failed);
        let batch = buffer.take();
        let total = u64::try_from(MAX_COUNTERS + 8).unwrap();
        assert_eq!(batch.counters.values().sum::<u64>(), total);
        assert_eq!(batch.groups.values().map(|group| group.errors).sum::<u64>(), total);
        assert!(batch.counters.len() <= MAX_COUNTERS + 1);
    }
}
