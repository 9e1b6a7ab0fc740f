//! The SQL of rules.

use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    db::{Error, FromRow, Tx},
    identity::TenantId,
    payment::PaymentMethodKind,
};
use serde_json::Value;

use super::rules::{RouteRule, RouteStrategy};

#[derive(FromRow)]
struct RuleRow {
    position: i32,
    currency: Option<String>,
    country: Option<String>,
    method: Option<String>,
    min_minor: Option<i64>,
    max_minor: Option<i64>,
    strategy: String,
    /// JSON.
    services: String,
}

/// Returns the rules of a tenant, in order.
pub(super) async fn list(tx: &mut Tx, tenant: TenantId, environment: DataEnvironment) -> Result<Vec<RouteRule>, Error> {
    let sql = "select position, currency, country, method, min_minor, max_minor, strategy, services from omni_payment_routes \
               where tenant_id = $1 and environment = $2 order by position";
    let rows: Vec<RuleRow> = tx.query(sql).bind(tenant).bind(environment.as_str()).fetch_all().await?;
    rows.into_iter().map(|row| read(tenant, row)).collect()
}

fn read(tenant: TenantId, row: RuleRow) -> Result<RouteRule, Error> {
    let unreadable = |column| {
        let id = format!("{} of the tenant {tenant}", row.position);
        Error::unreadable("omni_payment_routes", id, column)
    };
    let method = row.method.map(|method| serde_json::from_value(Value::String(method))).transpose();
    let method: Option<PaymentMethodKind> = method.map_err(|_| unreadable("method"))?;
    let strategy = RouteStrategy::from_stored(&row.strategy).ok_or_else(|| unreadable("strategy"))?;
    let services = serde_json::from_str(&row.services).map_err(|_| unreadable("services"))?;
    Ok(RouteRule {
        currency: row.currency,
        country: row.country,
        method,
        min_amount: row.min_minor,
        max_amount: row.max_minor,
        strategy,
        services,
    })
}

/// Replaces the rules of a tenant.
pub(super) async fn replace(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
    rules: &[RouteRule],
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "delete from omni_payment_routes where tenant_id = $1 and environment = $2";
    tx.query(sql).bind(tenant).bind(environment.as_str()).execute().await?;
    let sql = "insert into omni_payment_routes (tenant_id, environment, position, currency, country, method, \
               min_minor, max_minor, strategy, services, updated_at) \
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    for (rule, position) in rules.iter().zip(1_i32..) {
        let insert = tx.query(sql).bind(tenant).bind(environment.as_str()).bind(position);
        let insert = insert.bind(rule.currency.clone()).bind(rule.country.clone()).bind(rule.method.map(stored_method));
        let insert = insert.bind(rule.min_amount).bind(rule.max_amount).bind(rule.strategy.as_str());
        let services = serde_json::to_string(&rule.services).unwrap_or_else(|_| "[]".to_owned());
        insert.bind(services).bind(now).execute().await?;
    }
    Ok(())
}

fn stored_method(method: PaymentMethodKind) -> String {
    let text = serde_json::to_value(method).ok();
    text.as_ref().and_then(Value::as_str).unwrap_or("other").to_owned()
}
