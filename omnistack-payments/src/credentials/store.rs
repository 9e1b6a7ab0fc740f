//! The SQL of accounts.

use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    db::{Error, FromRow, Tx},
    identity::{TenantId, UserId},
};

use super::model::AccountKey;

/// The credentials of an account as they are stored. A row whose environment can't be read is refused when it is loaded,
/// so that the default of [`environment`](Self::environment) never counts.
#[derive(Clone, Debug, FromRow)]
pub(super) struct CredentialRow {
    pub(super) service: String,
    environment: String,
    /// Sealed.
    pub(super) credentials: String,
    pub(super) last_used_at: Option<Timestamp>,
    pub(super) checked_at: Option<Timestamp>,
    pub(super) check_error: Option<String>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl CredentialRow {
    pub(super) fn environment(&self) -> DataEnvironment {
        self.environment.parse().unwrap_or_default()
    }
}

/// Returns the accounts of a tenant.
pub(super) async fn list(tx: &mut Tx, tenant: TenantId) -> Result<Vec<CredentialRow>, Error> {
    let sql = "select service, environment, credentials, last_used_at, checked_at, check_error, created_at, updated_at \
               from omni_payment_credentials where tenant_id = $1 order by service, environment";
    let rows: Vec<CredentialRow> = tx.query(sql).bind(tenant).fetch_all().await?;
    for row in &rows {
        read_environment("omni_payment_credentials", tenant, &row.service, &row.environment)?;
    }
    Ok(rows)
}

/// Returns the number of services for which a tenant has stored credentials, without the service `except`.
pub(super) async fn count_services(tx: &mut Tx, tenant: TenantId, except: Option<String>) -> Result<u64, Error> {
    let sql = "select count(distinct service) from omni_payment_credentials where tenant_id = $1 and service <> $2";
    // No service has an empty name.
    let (count,): (i64,) = tx.query(sql).bind(tenant).bind(except.unwrap_or_default()).fetch_one().await?;
    Ok(count.unsigned_abs())
}

/// Returns the environments to which a tenant has switched services, with their names.
pub(super) async fn switches(tx: &mut Tx, tenant: TenantId) -> Result<Vec<(String, DataEnvironment)>, Error> {
    let sql = "select service, environment from omni_payment_services where tenant_id = $1";
    let rows: Vec<(String, String)> = tx.query(sql).bind(tenant).fetch_all().await?;
    let read = |(service, environment): (String, String)| {
        let environment = read_environment("omni_payment_services", tenant, &service, &environment)?;
        Ok((service, environment))
    };
    rows.into_iter().map(read).collect()
}

/// Inserts or replaces the credentials of an account. What is known of the previous ones is removed.
pub(super) async fn put(
    tx: &mut Tx,
    key: &AccountKey,
    sealed: String,
    user: UserId,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "insert into omni_payment_credentials \
               (tenant_id, service, environment, credentials, updated_by, created_at, updated_at) \
               values ($1, $2, $3, $4, $5, $6, $6) \
               on conflict (tenant_id, service, environment) do update set credentials = excluded.credentials, \
               updated_by = excluded.updated_by, updated_at = excluded.updated_at, last_used_at = null, \
               checked_at = null, check_error = null";
    let insert = tx.query(sql).bind(key.tenant).bind(key.service.clone()).bind(key.environment.as_str());
    insert.bind(sealed).bind(user).bind(now).execute().await?;
    Ok(())
}

/// Deletes the credentials of an account, and the switch to it. Returns whether there were any.
pub(super) async fn delete(tx: &mut Tx, key: &AccountKey) -> Result<bool, Error> {
    let sql = "delete from omni_payment_credentials where tenant_id = $1 and service = $2 and environment = $3";
    let delete = tx.query(sql).bind(key.tenant).bind(key.service.clone()).bind(key.environment.as_str());
    let deleted = delete.execute().await?;
    let sql = "delete from omni_payment_services where tenant_id = $1 and service = $2 and environment = $3";
    let delete = tx.query(sql).bind(key.tenant).bind(key.service.clone()).bind(key.environment.as_str());
    delete.execute().await?;
    Ok(deleted > 0)
}

/// Stores the environment to which a tenant switches a service.
pub(super) async fn switch(tx: &mut Tx, key: &AccountKey, now: Timestamp) -> Result<(), Error> {
    let sql = "insert into omni_payment_services (tenant_id, service, environment, updated_at) values ($1, $2, $3, $4) \
               on conflict (tenant_id, service) do update set environment = excluded.environment, \
               updated_at = excluded.updated_at";
    let insert = tx.query(sql).bind(key.tenant).bind(key.service.clone()).bind(key.environment.as_str());
    insert.bind(now).execute().await?;
    Ok(())
}

/// Stores the last use of an account, unless a later one is stored.
pub(super) async fn set_last_used(tx: &mut Tx, key: &AccountKey, now: Timestamp) -> Result<(), Error> {
    let sql = "update omni_payment_credentials set last_used_at = $4 where tenant_id = $1 and service = $2 \
               and environment = $3 and (last_used_at is null or last_used_at < $4)";
    let update = tx.query(sql).bind(key.tenant).bind(key.service.clone()).bind(key.environment.as_str());
    update.bind(now).execute().await?;
    Ok(())
}

/// Stores the result of a check of the credentials that were stored at `updated_at`.
pub(super) async fn set_check(
    tx: &mut Tx,
    key: &AccountKey,
    updated_at: Timestamp,
    error: Option<String>,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_payment_credentials set checked_at = $5, check_error = $6 where tenant_id = $1 \
               and service = $2 and environment = $3 and updated_at = $4";
    let update = tx.query(sql).bind(key.tenant).bind(key.service.clone()).bind(key.environment.as_str());
    update.bind(updated_at).bind(now).bind(error).execute().await?;
    Ok(())
}

/// Returns the sealed credentials of any tenants after an account, at most `limit`. The transaction must be one of all
/// tenants.
pub(super) async fn sealed_after(
    tx: &mut Tx,
    after: &AccountKey,
    limit: i64,
) -> Result<Vec<(AccountKey, String)>, Error> {
    let sql = "select tenant_id, service, environment, credentials from omni_payment_credentials \
               where (tenant_id, service, environment) > ($1, $2, $3) \
               order by tenant_id, service, environment limit $4";
    let query = tx.query(sql).bind(after.tenant).bind(after.service.clone()).bind(after.environment.as_str());
    let rows: Vec<(TenantId, String, String, String)> = query.bind(limit).fetch_all().await?;
    let read = |(tenant, service, environment, sealed): (TenantId, String, String, String)| {
        let environment = read_environment("omni_payment_credentials", tenant, &service, &environment)?;
        Ok((AccountKey { tenant, service, environment }, sealed))
    };
    rows.into_iter().map(read).collect()
}

/// Replaces sealed credentials, unless they have changed.
pub(super) async fn replace_sealed(tx: &mut Tx, key: &AccountKey, from: String, to: String) -> Result<(), Error> {
    let sql = "update omni_payment_credentials set credentials = $5 where tenant_id = $1 and service = $2 \
               and environment = $3 and credentials = $4";
    let update = tx.query(sql).bind(key.tenant).bind(key.service.clone()).bind(key.environment.as_str());
    update.bind(from).bind(to).execute().await?;
    Ok(())
}

/// Reads the environment of a row: a payment in the wrong one would be about real money, or not.
fn read_environment(table: &str, tenant: TenantId, service: &str, text: &str) -> Result<DataEnvironment, Error> {
    text.parse().map_err(|_| Error::unreadable(table, format!("{service} of the tenant {tenant}"), "environment"))
}
