//! State of all chains.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AuditChain, AuditStore, Error};
use crate::{crypto::Sha256, identity::TenantId};

/// State of a chain: whether it is intact.
///
/// ```
/// use omnistack_core::audit::{AuditStore, Error};
///
/// async fn report(store: &AuditStore) -> Result<Vec<String>, Error> {
///     let mut lines = Vec::new();
///     for chain in store.chains().await? {
///         let chain_state = store.chain_state(chain).await?;
///         lines.push(match chain_state.problem {
///             Some(problem) => problem,
///             None => format!("{chain}: {} entries are whole", chain_state.entries.unwrap_or_default()),
///         });
///     }
///     Ok(lines)
/// }
/// # use omnistack_core::{app::App, audit::{AuditEntry, AuditLog}, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// # let (log, store): (AuditLog, AuditStore) = (app.context().get()?, app.context().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.made")).await?;
/// # tx.commit().await?;
/// assert_eq!(report(&store).await?, ["app: 1 entries are whole"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(description = "State of a chain: whether it is intact.")]
#[non_exhaustive]
pub struct ChainState {
    /// Tenant of the chain; `null` for the app's chain.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub tenant: Option<TenantId>,
    /// Whether the chain is intact.
    pub intact: bool,
    /// Number of verified entries; `null` if the chain is broken.
    #[schema(required)]
    pub entries: Option<u64>,
    /// Hash of the chain's last entry; `null` if the chain is broken. Keep it outside the database, to compare.
    #[schema(required, value_type = Option<String>)]
    pub head: Option<Sha256>,
    /// Description of the break and the number of the entry; `null` if the chain is intact.
    #[schema(required)]
    pub problem: Option<String>,
}

impl ChainState {
    /// Returns the chain.
    pub fn chain(&self) -> AuditChain {
        self.tenant.into()
    }
}

impl AuditStore {
    /// Returns every chain that has a head or an entry, and the chains of all tenants with a tenant database,
    /// whether or not they have entries. The app's chain is always included, and first.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Database`].
    pub async fn chains(&self) -> Result<Vec<AuditChain>, Error> {
        let mut tx = self.db.all_tenants().begin_read().await?;
        // A chain whose head was deleted still has entries.
        let sql = "select tenant_id from omni_audit_chains union select tenant_id from omni_audit_entries order by 1";
        let chains: Vec<(Uuid,)> = tx.query(sql).fetch_all().await?;
        tx.commit().await?;
        let of_tenants =
            chains.into_iter().map(|(id,)| AuditChain::from_id(id)).filter(|chain| *chain != AuditChain::App);
        let mut chains: Vec<_> = std::iter::once(AuditChain::App).chain(of_tenants).collect();
        if let Some(databases) = self.db.tenant_databases() {
            for tenant in databases.all().await?.into_iter().map(AuditChain::Tenant) {
                if !chains.contains(&tenant) {
                    chains.push(tenant);
                }
            }
        }
        Ok(chains)
    }

    /// Verifies a chain and returns its state. A broken chain is part of the state, not an error.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Database`].
    pub async fn chain_state(&self, chain: impl Into<AuditChain>) -> Result<ChainState, Error> {
        let chain = chain.into();
        let (tenant, unknown) = (chain.tenant(), (None, None));
        let ((entries, head), problem) = match self.verify(chain).await {
            Ok(verified) => ((Some(verified.entries), Some(verified.head.hash)), None),
            Err(Error::Broken(broken)) => (unknown, Some(broken.to_string())),
            Err(error) => return Err(error),
        };
        Ok(ChainState { tenant, intact: problem.is_none(), entries, head, problem })
    }
}
