//! The billing details of tenants: the customer that their invoices name.

use std::collections::HashMap;

use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    db::{self, Arguments, Tx},
    http::Error,
    identity::{Identity, TenantId},
    usage::DataEnvironment,
};
use sqlx::AssertSqlSafe;

use super::{handle::Invoices, party::InvoiceParty};

impl Invoices {
    /// Returns the billing details of a tenant; empty ones if it has stated none.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn billing_details(&self, tenant: TenantId, environment: DataEnvironment) -> Result<InvoiceParty, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let details = find(&mut tx, tenant, environment).await?;
        tx.commit().await?;
        Ok(details)
    }

    /// Sets the billing details of the caller's tenant. Final invoices keep the details with which they were issued.
    pub(super) async fn set_billing_details(
        &self,
        caller: &Identity,
        environment: DataEnvironment,
        details: InvoiceParty,
    ) -> Result<InvoiceParty, Error> {
        details.check()?;
        let tenant = caller.require_tenant()?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        store(&mut tx, tenant, environment, &details, self.now()).await?;
        let entry = AuditEntry::new("billing_details.updated").actor(caller).resource("billing_details", environment);
        self.0.log.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(details)
    }
}

/// Returns the details of a tenant.
pub(super) async fn find(tx: &mut Tx, tenant: TenantId, environment: DataEnvironment) -> Result<InvoiceParty, Error> {
    let sql = "select details from omni_billing_details where tenant_id = $1 and environment = $2";
    let found: Option<(String,)> = tx.query(sql).bind(tenant).bind(environment.as_str()).fetch_optional().await?;
    match found {
        None => Ok(InvoiceParty::unknown()),
        Some((details,)) => serde_json::from_str(&details).map_err(Error::internal),
    }
}

/// Returns the details of several tenants, those that have stated some.
pub(super) async fn find_all(
    tx: &mut Tx,
    keys: &[(TenantId, DataEnvironment)],
) -> Result<HashMap<(TenantId, DataEnvironment), InvoiceParty>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let mut args = Arguments::new(tx.dialect());
    let list: Vec<_> = keys.iter().map(|(tenant, _)| args.push_next(*tenant)).collect();
    let sql = format!(
        "select tenant_id, environment, details from omni_billing_details where tenant_id in ({})",
        list.join(", ")
    );
    let rows: Vec<(TenantId, String, String)> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    let mut all = HashMap::with_capacity(rows.len());
    for (tenant, environment, details) in rows {
        let environment = environment.parse::<DataEnvironment>().map_err(Error::internal)?;
        all.insert((tenant, environment), serde_json::from_str(&details).map_err(Error::internal)?);
    }
    Ok(all)
}

async fn store(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
    details: &InvoiceParty,
    now: Timestamp,
) -> Result<(), Error> {
    let text = serde_json::to_string(details).map_err(Error::internal)?;
    let sql = "insert into omni_billing_details (tenant_id, environment, details, updated_at) values ($1, $2, $3, $4)
        on conflict (tenant_id, environment) do update set details = excluded.details, updated_at = excluded.updated_at";
    let insert = tx.query(sql).bind(tenant).bind(environment.as_str()).bind(text).bind(now);
    insert.execute().await.map(drop).map_err(|error: db::Error| error.into())
}
