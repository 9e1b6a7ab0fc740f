//! Every chain there is, checked one after the other.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AuditStore, Chain, Error};
use crate::{crypto::Sha256, identity::TenantId};

/// A chain, and whether it is as it was recorded.
///
/// ```
/// use omnistack_core::audit::{AuditStore, Error};
///
/// async fn report(store: &AuditStore) -> Result<Vec<String>, Error> {
///     let mut lines = Vec::new();
///     for chain in store.chains().await? {
///         let state = store.state(chain).await?;
///         lines.push(match state.problem {
///             Some(problem) => problem,
///             None => format!("{chain}: {} entries are whole", state.entries.unwrap_or_default()),
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
/// # let (log, store): (AuditLog, AuditStore) = (app.ctx().get()?, app.ctx().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.made")).await?;
/// # tx.commit().await?;
/// assert_eq!(report(&store).await?, ["app: 1 entries are whole"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(description = "A chain, and whether it is as it was recorded.")]
#[non_exhaustive]
pub struct ChainState {
    /// Whose; none for the app's own.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub tenant: Option<TenantId>,
    /// Whether it is whole.
    pub intact: bool,
    /// How many entries were checked; none when it isn't whole.
    #[schema(required)]
    pub entries: Option<u64>,
    /// The hash of its last entry: keep it elsewhere, to compare.
    #[schema(required, value_type = Option<String>)]
    pub head: Option<Sha256>,
    /// What is wrong with it, and where.
    #[schema(required)]
    pub problem: Option<String>,
}

impl ChainState {
    /// Whose it is.
    pub fn chain(&self) -> Chain {
        self.tenant.into()
    }
}

impl AuditStore {
    /// Every chain that has a head or an entry; the app's own first, in any case. With them, those of tenants with databases of
    /// their own, entries or none.
    ///
    /// # Errors
    /// The database's.
    pub async fn chains(&self) -> Result<Vec<Chain>, Error> {
        let mut tx = self.db.all_tenants().read().await?;
        // A chain whose head was deleted still has entries.
        let sql = "select tenant_id from audit_chains union select tenant_id from audit_entries order by 1";
        let chains: Vec<(Uuid,)> = tx.query(sql).fetch_all().await?;
        tx.commit().await?;
        let of_tenants = chains.into_iter().map(|(id,)| Chain::of_id(id)).filter(|chain| *chain != Chain::App);
        let mut chains: Vec<_> = std::iter::once(Chain::App).chain(of_tenants).collect();
        if let Some(databases) = self.db.tenant_databases() {
            for tenant in databases.all().await?.into_iter().map(Chain::Tenant) {
                if !chains.contains(&tenant) {
                    chains.push(tenant);
                }
            }
        }
        Ok(chains)
    }

    /// Checks a chain, and says what is wrong with it in place of an error.
    ///
    /// # Errors
    /// The database's.
    pub async fn state(&self, chain: impl Into<Chain>) -> Result<ChainState, Error> {
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
