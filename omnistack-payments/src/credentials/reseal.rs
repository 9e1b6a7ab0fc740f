//! Seals credentials with the primary key of `SECRET_KEYS`, so that a previous key can be removed from it.

use async_trait::async_trait;
use omnistack_core::{
    crypto::{self, KeyRing},
    data_environment::DataEnvironment,
    db::{self, Db},
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{model::AccountKey, sealed, store};

/// Largest number of accounts that are read at once.
const ACCOUNTS_PER_READ: u16 = 500;

/// The credentials of all tenants, and the keys that seal them.
#[derive(Clone)]
pub(super) struct CredentialKeys {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) keys: KeyRing,
}

impl CredentialKeys {
    /// Seals all credentials with the primary key. Returns their number. Those that can't be opened stay as they are.
    async fn reseal(&self) -> Result<u64, db::Error> {
        let mut after = AccountKey {
            tenant: TenantId::from_uuid(Uuid::nil()),
            service: String::new(),
            environment: DataEnvironment::Live,
        };
        let mut count = 0;
        loop {
            // The job has no caller, so it accesses all tenants.
            let mut tx = self.db.all_tenants().begin_read().await?;
            let rows = store::sealed_after(&mut tx, &after, ACCOUNTS_PER_READ.into()).await?;
            tx.commit().await?;
            let is_last = rows.len() < usize::from(ACCOUNTS_PER_READ);
            for (key, sealed) in rows {
                match sealed::reseal(&sealed, &self.keys, &key) {
                    Ok(None) => {}
                    Ok(Some(resealed)) => {
                        let mut tx = self.db.tenant(key.tenant).begin().await?;
                        store::replace_sealed(&mut tx, &key, sealed, resealed).await?;
                        tx.commit().await?;
                        count += 1;
                    }
                    Err(error) => warn_broken(&key, &error),
                }
                after = key;
            }
            if is_last {
                return Ok(count);
            }
        }
    }
}

fn warn_broken(key: &AccountKey, error: &crypto::Error) {
    let AccountKey { tenant, service, .. } = key;
    tracing::warn!(target: "omnistack::payments", %tenant, service, %error, "payment credentials can't be opened");
}

/// The job that seals credentials with the primary key. It runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ResealCredentials {}

#[async_trait]
impl Job for ResealCredentials {
    const NAME: &'static str = "payments.reseal_credentials";

    type State = CredentialKeys;

    async fn run(self, credentials: &CredentialKeys, _: &JobContext) -> Result<(), JobError> {
        let resealed = credentials.reseal().await?;
        tracing::debug!(target: "omnistack::payments", resealed, "payment credentials were sealed again");
        Ok(())
    }
}
