//! The rows of reports.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, BulkInsert, Error, Tx},
    identity::TenantId,
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    amount::MeterRemainder,
    reporter::{MeterReportId, ReportedMeter},
};

/// The state of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MeterReportState {
    /// It is to be sent.
    Pending,
    /// It was sent, and no conclusive response arrived. It is sent again.
    Unknown,
    /// The provider has counted it.
    Sent,
    /// The provider has rejected it.
    Failed,
    /// It was unknown for twenty hours. An operator finds out whether it was counted.
    Unresolved,
}

impl MeterReportState {
    /// Returns the state as it is stored, such as `pending`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Unknown => "unknown",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Unresolved => "unresolved",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Unknown, Self::Sent, Self::Failed, Self::Unresolved];
        all.into_iter().find(|state| state.as_str() == text)
    }
}

/// A day of a tenant whose usage is not all in reports.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct UnreportedDay {
    pub(super) tenant_id: TenantId,
    pub(super) customer: String,
    pub(super) day: Timestamp,
    pub(super) used: i64,
    pub(super) reported: i64,
}

/// Returns days of which usage is in no report, of tenants that are customers of a provider. A day whose usage
/// was reduced after a report is due again when its usage exceeds what was reported.
pub(super) async fn unreported(
    tx: &mut Tx,
    provider: &str,
    environment: DataEnvironment,
    meter: &ReportedMeter,
    since: Timestamp,
    limit: i64,
) -> Result<Vec<UnreportedDay>, Error> {
    let column = meter.column;
    let sql = format!(
        "select w.tenant_id, c.external_id as customer, w.start as day, w.{column} as used,
            coalesce(d.reported, 0) as reported
        from omni_usage_windows w
        join omni_billing_customers c on c.tenant_id = w.tenant_id and c.environment = w.environment
            and c.provider = $1 and c.external_id is not null
        left join omni_meter_days d on d.tenant_id = w.tenant_id and d.environment = w.environment
            and d.meter = w.meter and d.day = w.start
        where w.grain = 'day' and w.environment = $2 and w.meter = $3 and w.start >= $4
            and w.{column} > coalesce(d.reported, 0)
        order by w.tenant_id, w.start limit $5"
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(provider).bind(environment.as_str());
    select.bind(meter.name.as_str()).bind(since).bind(limit).fetch_all().await
}

/// Notes that all usage of a day is in reports. Returns `false` if another transaction has done so.
pub(super) async fn set_reported(
    tx: &mut Tx,
    environment: DataEnvironment,
    meter: &ReportedMeter,
    day: &UnreportedDay,
) -> Result<bool, Error> {
    let sql = "insert into omni_meter_days (tenant_id, environment, meter, day, reported) values ($1, $2, $3, $4, $5)
        on conflict (tenant_id, environment, meter, day) do update set reported = excluded.reported
        where omni_meter_days.reported = $6";
    let insert = tx.query(sql).bind(day.tenant_id).bind(environment.as_str()).bind(meter.name.as_str());
    Ok(insert.bind(day.day).bind(day.used).bind(day.reported).execute().await? > 0)
}

/// Returns what was left of the last report of a meter.
pub(super) async fn remainder(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
    meter: &ReportedMeter,
) -> Result<Option<MeterRemainder>, Error> {
    let sql = "select numerator, denominator from omni_meter_remainders
        where tenant_id = $1 and environment = $2 and meter = $3";
    let select = tx.query(sql).bind(tenant).bind(environment.as_str()).bind(meter.name.as_str());
    let found: Option<(i64, i64)> = select.fetch_optional().await?;
    Ok(found.map(|(numerator, denominator)| MeterRemainder { numerator, denominator }))
}

/// Stores what is left for the next report of a meter.
pub(super) async fn set_remainder(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
    meter: &ReportedMeter,
    remainder: MeterRemainder,
) -> Result<(), Error> {
    let sql = "insert into omni_meter_remainders (tenant_id, environment, meter, numerator, denominator)
        values ($1, $2, $3, $4, $5) on conflict (tenant_id, environment, meter)
        do update set numerator = excluded.numerator, denominator = excluded.denominator";
    let insert = tx.query(sql).bind(tenant).bind(environment.as_str()).bind(meter.name.as_str());
    insert.bind(remainder.numerator).bind(remainder.denominator).execute().await.map(drop)
}

/// A report to insert.
#[derive(Clone, Debug)]
pub(super) struct NewMeterReport {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) meter: String,
    pub(super) provider: &'static str,
    pub(super) provider_meter: String,
    pub(super) customer: String,
    pub(super) value: String,
    pub(super) at: Timestamp,
}

static INSERT_REPORTS: BulkInsert<16> = BulkInsert::new(
    "insert into omni_meter_reports (id, tenant_id, environment, meter, provider, provider_meter, customer, value,
    identifier, at, state, attempts, first_attempt_at, next_attempt_at, created_at, updated_at) values",
    "",
);

/// Inserts reports, which are to be sent now.
pub(super) async fn insert(tx: &mut Tx, reports: &[NewMeterReport], now: Timestamp) -> Result<(), Error> {
    if reports.is_empty() {
        return Ok(());
    }
    // A microsecond apart, so that their ids have their order.
    let ids = (0_u64..).map(|number| MeterReportId::new(now + Duration::from_micros(number)));
    let rows: Vec<(MeterReportId, &NewMeterReport)> = ids.zip(reports).collect();
    let bind = |row: &mut Arguments, (id, report): &(MeterReportId, &NewMeterReport)| {
        row.push(*id);
        row.push(report.tenant);
        row.push(report.environment.as_str());
        row.push(report.meter.clone());
        row.push(report.provider);
        row.push(report.provider_meter.clone());
        row.push(report.customer.clone());
        row.push(report.value.clone());
        row.push(id.to_string());
        row.push(report.at);
        row.push(MeterReportState::Pending.as_str());
        row.push(0_i32);
        row.push(None::<Timestamp>);
        row.push(now);
        row.push(now);
        row.push(now);
    };
    INSERT_REPORTS.execute(tx, &rows, bind).await.map(drop)
}

/// A report. A row whose columns can't be read is refused when it is loaded, so that the defaults of the functions that
/// read them never count.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct ReportRow {
    pub(super) id: MeterReportId,
    pub(super) tenant_id: TenantId,
    environment: String,
    pub(super) meter: String,
    pub(super) provider: String,
    pub(super) provider_meter: String,
    pub(super) customer: String,
    pub(super) value: String,
    pub(super) identifier: String,
    pub(super) at: Timestamp,
    state: String,
    pub(super) attempts: i32,
    pub(super) first_attempt_at: Option<Timestamp>,
    pub(super) error: Option<String>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl ReportRow {
    /// Returns the row that was loaded. Fails if one of its columns can't be read.
    fn checked(self) -> Result<Self, Error> {
        for (column, is_readable) in [
            ("environment", self.environment.parse::<DataEnvironment>().is_ok()),
            ("state", MeterReportState::from_text(&self.state).is_some()),
        ] {
            if !is_readable {
                return Err(Error::unreadable("omni_meter_reports", self.id, column));
            }
        }
        Ok(self)
    }

    pub(super) fn environment(&self) -> DataEnvironment {
        self.environment.parse().unwrap_or_default()
    }

    pub(super) fn state(&self) -> MeterReportState {
        MeterReportState::from_text(&self.state).unwrap_or(MeterReportState::Failed)
    }
}

const COLUMNS: &str = "id, tenant_id, environment, meter, provider, provider_meter, customer, value, identifier, at,
    state, attempts, first_attempt_at, error, created_at, updated_at";

/// Returns reports of a provider that are to be sent, in their order. The transaction must be one of all tenants.
pub(super) async fn due(
    tx: &mut Tx,
    provider: &str,
    environment: DataEnvironment,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<ReportRow>, Error> {
    let sql = format!(
        "select {COLUMNS} from omni_meter_reports where state in ('pending', 'unknown') and provider = $1
        and environment = $2 and next_attempt_at <= $3 order by next_attempt_at, id limit $4"
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(provider).bind(environment.as_str());
    let rows: Vec<ReportRow> = select.bind(now).bind(limit).fetch_all().await?;
    rows.into_iter().map(ReportRow::checked).collect()
}

/// The result of an attempt.
#[derive(Clone, Debug)]
pub(super) struct AttemptResult {
    pub(super) state: MeterReportState,
    pub(super) first_attempt_at: Timestamp,
    pub(super) next_attempt_at: Timestamp,
    pub(super) error: Option<String>,
}

/// Notes that a report is about to be sent, before it is: if the process ends before its result is stored, the report may
/// have been counted. `retry_at` is when it is sent again then. Returns `false` if another replica sends it, or has.
pub(super) async fn begin_attempt(
    tx: &mut Tx,
    report: &ReportRow,
    first_attempt_at: Timestamp,
    retry_at: Timestamp,
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = "update omni_meter_reports set state = 'unknown', first_attempt_at = $2, next_attempt_at = $3,
        attempts = attempts + 1, updated_at = $4
        where id = $1 and identifier = $5 and attempts = $6 and state in ('pending', 'unknown')";
    let update = tx.query(sql).bind(report.id).bind(first_attempt_at).bind(retry_at).bind(now);
    Ok(update.bind(report.identifier.as_str()).bind(report.attempts).execute().await? > 0)
}

/// Stores the result of the attempt that was begun for a report as it was read, unless another one has begun since. A
/// report that was counted is `sent` whatever another attempt has found out.
pub(super) async fn set_result(
    tx: &mut Tx,
    report: &ReportRow,
    result: &AttemptResult,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_meter_reports set state = $2, first_attempt_at = $3, next_attempt_at = $4, error = $5,
        updated_at = $6
        where id = $1 and identifier = $7 and (attempts = $8 or $2 = 'sent')
            and state in ('pending', 'unknown', 'unresolved')";
    let update = tx.query(sql).bind(report.id).bind(result.state.as_str()).bind(result.first_attempt_at);
    let update = update.bind(result.next_attempt_at).bind(result.error.clone()).bind(now);
    update.bind(report.identifier.as_str()).bind(report.attempts.saturating_add(1)).execute().await.map(drop)
}

/// Marks the reports that are unknown and were first sent before a time, so that they are not sent again. The
/// transaction must be one of all tenants.
pub(super) async fn give_up_unknown(tx: &mut Tx, before: Timestamp, now: Timestamp) -> Result<u64, Error> {
    let sql = "update omni_meter_reports set state = 'unresolved', updated_at = $2
        where state = 'unknown' and first_attempt_at < $1";
    tx.query(sql).bind(before).bind(now).execute().await
}

/// Returns the newest reports, of a state if one is given, before a report. The transaction must be one of all tenants.
pub(super) async fn newest(
    tx: &mut Tx,
    state: Option<MeterReportState>,
    before: Option<MeterReportId>,
    limit: i64,
) -> Result<Vec<ReportRow>, Error> {
    let before = before.unwrap_or_else(|| MeterReportId::from_uuid(Uuid::max()));
    let condition = state.map(|state| format!("and state = '{}'", state.as_str())).unwrap_or_default();
    let sql = format!("select {COLUMNS} from omni_meter_reports where id < $1 {condition} order by id desc limit $2");
    let rows: Vec<ReportRow> = tx.query(AssertSqlSafe(sql)).bind(before).bind(limit).fetch_all().await?;
    rows.into_iter().map(ReportRow::checked).collect()
}

/// The number of reports in a state, and the time of the oldest.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct StateCount {
    pub(super) state: String,
    pub(super) reports: i64,
    pub(super) oldest_at: Timestamp,
}

/// Returns the numbers of reports that are not sent. The transaction must be one of all tenants.
pub(super) async fn open_counts(tx: &mut Tx) -> Result<Vec<StateCount>, Error> {
    let sql = "select state, count(*) as reports, min(created_at) as oldest_at from omni_meter_reports
        where state in ('pending', 'unknown', 'failed', 'unresolved') group by state order by state";
    tx.query(sql).fetch_all().await
}

/// Returns a report. The transaction must be one of all tenants.
pub(super) async fn find(tx: &mut Tx, id: MeterReportId) -> Result<Option<ReportRow>, Error> {
    let sql = format!("select {COLUMNS} from omni_meter_reports where id = $1");
    let row: Option<ReportRow> = tx.query(AssertSqlSafe(sql)).bind(id).fetch_optional().await?;
    row.map(ReportRow::checked).transpose()
}

/// Marks a report as counted, as an operator has found out. Returns `false` if it is neither failed nor unresolved.
pub(super) async fn set_counted(tx: &mut Tx, id: MeterReportId, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_meter_reports set state = 'sent', error = null, updated_at = $2
        where id = $1 and state in ('failed', 'unresolved')";
    Ok(tx.query(sql).bind(id).bind(now).execute().await? > 0)
}

/// Sends a report again, with another identifier, because the provider refuses the former one or has forgotten it.
/// Returns `false` if it is neither failed nor unresolved.
pub(super) async fn send_again(tx: &mut Tx, id: MeterReportId, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_meter_reports set state = 'pending', identifier = $2, attempts = 0, first_attempt_at = null,
        next_attempt_at = $3, error = null, updated_at = $3 where id = $1 and state in ('failed', 'unresolved')";
    let identifier = MeterReportId::new(now).to_string();
    Ok(tx.query(sql).bind(id).bind(identifier).bind(now).execute().await? > 0)
}

/// Deletes what is no longer needed: reports that were sent before a time, and days that are too old to be reported.
/// The transaction must be one of all tenants.
pub(super) async fn purge(tx: &mut Tx, sent_before: Timestamp, days_before: Timestamp) -> Result<(), Error> {
    let sql = "delete from omni_meter_reports where state = 'sent' and updated_at < $1";
    tx.query(sql).bind(sent_before).execute().await?;
    tx.query("delete from omni_meter_days where day < $1").bind(days_before).execute().await.map(drop)
}
