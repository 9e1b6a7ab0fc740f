//! The times at which accounts were last used.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use omnistack_core::{clock::Timestamp, db::Db};

use super::{model::AccountKey, store};

/// Time between two writes of the last use of an account.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);
/// Largest number of accounts in memory.
const MAX_REMEMBERED_ACCOUNTS: usize = 10_000;

/// The last uses of accounts by this process.
#[derive(Debug, Default)]
pub(super) struct LastUses(Mutex<HashMap<AccountKey, LastUse>>);

#[derive(Debug)]
struct LastUse {
    at: Timestamp,
    written_at: Timestamp,
}

impl LastUses {
    /// Notes that an account is used. Returns whether the use must be written.
    pub(super) fn note(&self, key: &AccountKey, now: Timestamp) -> bool {
        let mut uses = self.lock();
        if let Some(last) = uses.get_mut(key) {
            last.at = now;
            let is_due = now.duration_since(last.written_at) >= WRITE_INTERVAL;
            if is_due {
                last.written_at = now;
            }
            return is_due;
        }
        if uses.len() >= MAX_REMEMBERED_ACCOUNTS {
            uses.clear();
        }
        uses.insert(key.clone(), LastUse { at: now, written_at: now });
        true
    }

    /// Returns the later of the last use by this process and the one in the database.
    pub(super) fn latest(&self, key: &AccountKey, stored: Option<Timestamp>) -> Option<Timestamp> {
        self.lock().get(key).map(|last| last.at).max(stored)
    }

    /// Forgets an account whose credentials were replaced.
    pub(super) fn forget(&self, key: &AccountKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountKey, LastUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the last use of an account, beside the work of the caller.
pub(super) fn write(db: Db, key: AccountKey, now: Timestamp) {
    tokio::spawn(async move {
        let written = async {
            let mut tx = db.tenant(key.tenant).begin().await?;
            store::set_last_used(&mut tx, &key, now).await?;
            tx.commit().await
        };
        if let Err(error) = written.await {
            tracing::debug!(target: "omnistack::payments", %error, "the last use of a payment account was not stored");
        }
    });
}

#[cfg(test)]
mod tests {
    use omnistack_core::{data_environment::DataEnvironment, id::Id};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_use_is_written_at_most_once_a_minute() {
        let time = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let tenant = Id::from_uuid(Uuid::nil());
        let key = AccountKey { tenant, service: "stripe".into(), environment: DataEnvironment::Live };
        let uses = LastUses::default();
        assert_eq!(uses.latest(&key, Some(time(5))), Some(time(5)));
        let written: Vec<bool> = [10, 11, 69, 70, 71].map(|second| uses.note(&key, time(second))).into();
        assert_eq!(written, [true, false, false, true, false]);
        assert_eq!(uses.latest(&key, None), Some(time(71)));
        uses.forget(&key);
        assert_eq!(uses.latest(&key, None), None);
    }
}
