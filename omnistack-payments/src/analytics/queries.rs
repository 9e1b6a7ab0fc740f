//! The SQL of reports.

use omnistack_core::{
    data_environment::DataEnvironment,
    db::{Error, Tx},
    identity::{ApiKeyId, TenantId},
    money::Currency,
    payment::PaymentMethodKind,
};
use sqlx::AssertSqlSafe;

use super::period::DayRange;
use crate::payment::read_name;

/// Largest number of errors in a report.
const MAX_LISTED_ERRORS: i64 = 50;
/// Largest number of API keys in a report.
const MAX_LISTED_API_KEYS: i64 = 50;
/// Largest number of costs by API key and currency in a report.
const MAX_LISTED_KEY_COSTS: i64 = 100;

/// The payments that a report is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportScope {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) days: DayRange,
}

/// Calls of a service.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct CallRow {
    pub(super) service: String,
    pub(super) outcome: String,
    pub(super) bucket_ms: i32,
    pub(super) calls: i64,
    pub(super) duration_ms: i64,
}

/// Returns the calls by service, outcome and duration.
pub(super) async fn calls(tx: &mut Tx, scope: ReportScope) -> Result<Vec<CallRow>, Error> {
    let sql = "select service, outcome, bucket_ms, cast(sum(calls) as bigint) as calls,
        cast(sum(duration_ms) as bigint) as duration_ms from omni_payment_days
        where tenant_id = $1 and environment = $2 and day >= $3 and day <= $4
        group by service, outcome, bucket_ms";
    let select = tx.query(sql).bind(scope.tenant).bind(scope.environment.as_str());
    select.bind(scope.days.first).bind(scope.days.last).fetch_all().await
}

/// Returns the calls by service, day and outcome.
pub(super) async fn calls_by_day(tx: &mut Tx, scope: ReportScope) -> Result<Vec<(String, i32, String, i64)>, Error> {
    let sql = "select service, day, outcome, cast(sum(calls) as bigint) from omni_payment_days
        where tenant_id = $1 and environment = $2 and day >= $3 and day <= $4
        group by service, day, outcome order by day";
    let select = tx.query(sql).bind(scope.tenant).bind(scope.environment.as_str());
    select.bind(scope.days.first).bind(scope.days.last).fetch_all().await
}

/// Returns the API keys with the most calls: each with its calls, and those that have succeeded.
pub(super) async fn calls_by_api_key(tx: &mut Tx, scope: ReportScope) -> Result<Vec<(ApiKeyId, i64, i64)>, Error> {
    let sql = "select api_key_id, cast(sum(calls) as bigint) as total,
        cast(sum(case when outcome = 'success' then calls else 0 end) as bigint) from omni_payment_days
        where tenant_id = $1 and environment = $2 and day >= $3 and day <= $4
        group by api_key_id order by total desc, api_key_id limit $5";
    let select = tx.query(sql).bind(scope.tenant).bind(scope.environment.as_str());
    select.bind(scope.days.first).bind(scope.days.last).bind(MAX_LISTED_API_KEYS).fetch_all().await
}

/// Returns the calls that have not succeeded by service and code, the most frequent first: of one service, or of all.
pub(super) async fn errors(
    tx: &mut Tx,
    scope: ReportScope,
    service: Option<&str>,
) -> Result<Vec<(String, String, String, i64)>, Error> {
    let condition = if service.is_some() { "and service = $6" } else { "" };
    let sql = format!(
        "select service, outcome, code, cast(sum(calls) as bigint) as total from omni_payment_days
         where tenant_id = $1 and environment = $2 and day >= $3 and day <= $4 and outcome <> 'success' {condition}
         group by service, outcome, code order by total desc, service, code limit $5"
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(scope.tenant).bind(scope.environment.as_str());
    let select = select.bind(scope.days.first).bind(scope.days.last).bind(MAX_LISTED_ERRORS);
    let select = match service {
        Some(service) => select.bind(service.to_owned()),
        None => select,
    };
    select.fetch_all().await
}

/// The volume of a service.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct VolumeRow {
    pub(super) service: String,
    pub(super) currency: String,
    pub(super) method: String,
    pub(super) country: String,
    pub(super) payments: i64,
    pub(super) captured: i64,
    pub(super) fees: i64,
}

/// Returns the volume by service, currency, payment method and country.
pub(super) async fn volume(tx: &mut Tx, scope: ReportScope) -> Result<Vec<VolumeRow>, Error> {
    let sql = "select service, currency, method, country, cast(sum(payments) as bigint) as payments,
        cast(sum(captured) as bigint) as captured, cast(sum(fees) as bigint) as fees from omni_payment_volumes
        where tenant_id = $1 and environment = $2 and day >= $3 and day <= $4
        group by service, currency, method, country order by service, currency, method, country";
    let select = tx.query(sql).bind(scope.tenant).bind(scope.environment.as_str());
    let rows: Vec<VolumeRow> = select.bind(scope.days.first).bind(scope.days.last).fetch_all().await?;
    for row in &rows {
        let unreadable = |column| {
            let id = format!("{} of the tenant {}", row.service, scope.tenant);
            Error::unreadable("omni_payment_volumes", id, column)
        };
        Currency::from_code(&row.currency).ok_or_else(|| unreadable("currency"))?;
        read_name::<PaymentMethodKind>(&row.method).ok_or_else(|| unreadable("method"))?;
    }
    Ok(rows)
}

/// Volume of a day: the day, the currency, the payments, what was captured, and the fees.
pub(super) type DayVolume = (i32, String, i64, i64, i64);

/// Returns the volume by day and currency.
pub(super) async fn volume_by_day(tx: &mut Tx, scope: ReportScope) -> Result<Vec<DayVolume>, Error> {
    let sql = "select day, currency, cast(sum(payments) as bigint), cast(sum(captured) as bigint),
        cast(sum(fees) as bigint) from omni_payment_volumes
        where tenant_id = $1 and environment = $2 and day >= $3 and day <= $4
        group by day, currency order by day, currency";
    let select = tx.query(sql).bind(scope.tenant).bind(scope.environment.as_str());
    select.bind(scope.days.first).bind(scope.days.last).fetch_all().await
}

/// The volume that an API key has caused in a currency.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct KeyVolumeRow {
    /// All zeros for payments without one.
    pub(super) api_key_id: ApiKeyId,
    pub(super) currency: String,
    pub(super) payments: i64,
    pub(super) captured: i64,
    pub(super) fees: i64,
}

/// Returns the volume by API key and currency, that of the most payments first.
pub(super) async fn volume_by_api_key(tx: &mut Tx, scope: ReportScope) -> Result<Vec<KeyVolumeRow>, Error> {
    let sql = "select api_key_id, currency, cast(sum(payments) as bigint) as payments,
        cast(sum(captured) as bigint) as captured, cast(sum(fees) as bigint) as fees from omni_payment_volumes
        where tenant_id = $1 and environment = $2 and day >= $3 and day <= $4
        group by api_key_id, currency order by sum(payments) desc, api_key_id, currency limit $5";
    let select = tx.query(sql).bind(scope.tenant).bind(scope.environment.as_str());
    select.bind(scope.days.first).bind(scope.days.last).bind(MAX_LISTED_KEY_COSTS).fetch_all().await
}
