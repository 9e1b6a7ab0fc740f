//! The job that expires grants.

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};

use super::{
    grants::expire_due,
    handle::Wallets,
    store::{self, WalletKey},
};

/// Number of wallets that are searched for at once.
const WALLETS_PER_SEARCH: usize = 500;

/// The job that adds what has expired to the statements. Uses don't wait for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ExpireGrants {}

#[async_trait]
impl Job for ExpireGrants {
    const NAME: &'static str = "wallets.expire_grants";

    type State = Wallets;

    async fn run(self, wallets: &Wallets, _: &JobContext) -> Result<(), JobError> {
        let now = wallets.now();
        let (mut after, mut failure) = (None, None);
        loop {
            let due = wallets_with_due_grants(wallets, now, after.take()).await?;
            for (tenant, environment) in &due {
                // One wallet that fails keeps no other from being processed.
                if let Err(error) = expire(wallets, *tenant, environment, now).await {
                    tracing::error!(target: "omnistack::billing", %tenant, %error, "grants could not be expired");
                    failure = Some(error);
                }
            }
            if due.len() < WALLETS_PER_SEARCH {
                return failure.map_or(Ok(()), Err);
            }
            after = due.into_iter().next_back();
        }
    }
}

async fn wallets_with_due_grants(
    wallets: &Wallets,
    now: Timestamp,
    after: Option<(TenantId, String)>,
) -> Result<Vec<(TenantId, String)>, db::Error> {
    // The job has no caller, so it searches the wallets of all tenants.
    let mut tx = wallets.0.db.all_tenants().begin_read().await?;
    let limit = i64::try_from(WALLETS_PER_SEARCH).unwrap_or(i64::MAX);
    let due = store::wallets_with_due_grants(&mut tx, now, after, limit).await?;
    tx.commit().await?;
    Ok(due)
}

async fn expire(wallets: &Wallets, tenant: TenantId, environment: &str, now: Timestamp) -> Result<(), JobError> {
    let environment: DataEnvironment = environment.parse()?;
    let mut tx = wallets.0.db.tenant(tenant).begin().await?;
    if let Some(mut wallet) = store::lock(&mut tx, WalletKey { tenant, environment }).await? {
        expire_due(&mut tx, &mut wallet, now).await?;
    }
    tx.commit().await?;
    Ok(())
}
