//! The SQL of payments, attempts and refunds.

use std::collections::HashMap;

use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    db::{self, Arguments, Dialect, Record, Sql, StatementGroup, Tx},
    identity::TenantId,
};
use sqlx::AssertSqlSafe;

use super::{
    attempt_row::AttemptRow,
    dispute_rows::{self, DisputeRow},
    machine::PaymentState,
    model::{PaymentId, PaymentRefundId},
    refund_row::RefundRow,
    rows::{PaymentRow, StoredPayment},
};

const PAYMENT_COLUMNS: &str = "id, tenant_id, environment, request_key, amount, currency, method, capture, country,
    description, metadata, api_key_id, status, captured, refunded, charged_back, version, created_at, updated_at";
const ATTEMPT_COLUMNS: &str = "payment_id, number, service, reference, request_key, state, forced, provider_payment_id,
    captured, refunded, charged_back, fee, fee_currency, fee_estimate, action_url, error_code, error_message,
    pending_change, pending_amount, started_at, ended_at, duration_ms, checks";
const REFUND_COLUMNS: &str = "id, payment_id, attempt, reference, request_key, state, amount, reason,
    provider_refund_id, error_code, error_message, checks, created_at, updated_at";

/// Largest number of attempts that an event is about. An id of a provider is that of one attempt; accounts of several
/// tenants at test servers can have the same one.
const MAX_ATTEMPTS_OF_EVENT: i64 = 20;

macro_rules! payment_insertion {
    () => {
        "insert into omni_payments (id, tenant_id, environment, request_key, amount, currency, method, capture, country,
            description, metadata, api_key_id, status, captured, refunded, charged_back, version, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, 0, 0, $14, $15, $15)
        on conflict (tenant_id, environment, request_key) do nothing"
    };
}

macro_rules! attempt_insertion {
    ($rows:literal) => {
        concat!(
            "insert into omni_payment_attempts (payment_id, number, tenant_id, environment, service, reference,
                request_key, state, forced, captured, refunded, charged_back, fee_estimate, started_at, check_at,
                checks) ",
            $rows
        )
    };
}

const INSERT_PAYMENT: &str = payment_insertion!();
const INSERT_ATTEMPT: &str =
    attempt_insertion!("values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, $10, $11, $12, 0)");
/// Both insertions in one round trip. SQLite has no such statement.
const INSERT_PAYMENT_AND_ATTEMPT: &str = concat!(
    "with payment as (",
    payment_insertion!(),
    " returning id) ",
    attempt_insertion!("select $16, $17, $18, $19, $20, $21, $22, $23, $24, 0, 0, 0, $25, $26, $27, 0 from payment")
);

/// Inserts a payment with its first attempt. Returns `false`, and inserts neither, if the tenant has a payment with the
/// same key.
pub(super) async fn insert_payment(tx: &mut Tx, payment: &PaymentRow, attempt: &AttemptRow) -> Result<bool, db::Error> {
    let mut values = Arguments::new(tx.dialect());
    push_payment(&mut values, payment);
    if tx.dialect() == Dialect::Postgres {
        push_attempt(&mut values, payment, attempt);
        return Ok(tx.query(INSERT_PAYMENT_AND_ATTEMPT).args(values).execute().await? > 0);
    }
    let is_new = tx.query(INSERT_PAYMENT).args(values).execute().await? > 0;
    if is_new {
        insert_attempt(tx, payment, attempt).await?;
    }
    Ok(is_new)
}

/// Inserts an attempt, about which the provider is asked if the process crashes.
pub(super) async fn insert_attempt(tx: &mut Tx, payment: &PaymentRow, row: &AttemptRow) -> Result<(), db::Error> {
    let mut values = Arguments::new(tx.dialect());
    push_attempt(&mut values, payment, row);
    tx.query(INSERT_ATTEMPT).args(values).execute().await.map(drop)
}

/// Adds the values of a new payment to those of a statement.
fn push_payment(values: &mut Arguments, row: &PaymentRow) {
    values.push(row.id);
    values.push(row.tenant_id);
    values.push(row.environment.clone());
    values.push(row.request_key.clone());
    values.push(row.amount);
    values.push(row.currency.clone());
    values.push(row.method.clone());
    values.push(row.capture.clone());
    values.push(row.country.clone());
    values.push(row.description.clone());
    values.push(row.metadata.clone());
    values.push(row.api_key_id);
    values.push(row.status.clone());
    values.push(row.version);
    values.push(row.created_at);
}

/// Adds the values of a new attempt to those of a statement.
fn push_attempt(values: &mut Arguments, payment: &PaymentRow, row: &AttemptRow) {
    values.push(row.payment_id);
    values.push(row.number);
    values.push(payment.tenant_id);
    values.push(payment.environment.clone());
    values.push(row.service.clone());
    values.push(row.reference.clone());
    values.push(row.request_key.clone());
    values.push(row.state.clone());
    values.push(row.forced);
    values.push(row.fee_estimate);
    values.push(row.started_at);
    values.push(row.check_at(row.started_at));
}

/// Adds the statement that updates a payment to a group, and increments the version of the payment. The transaction
/// must have locked the payment.
pub(super) fn update_payment(group: &mut StatementGroup, row: &mut PaymentRow, now: Timestamp) {
    row.version += 1;
    row.updated_at = now;
    let values = group.add(
        "update omni_payments set status = $3, captured = $4, refunded = $5, charged_back = $6, version = $7,
        updated_at = $8 where tenant_id = $1 and id = $2",
    );
    values.push(row.tenant_id);
    values.push(row.id);
    values.push(row.status.clone());
    values.push(row.captured);
    values.push(row.refunded);
    values.push(row.charged_back);
    values.push(row.version);
    values.push(row.updated_at);
}

/// Adds the statement that updates an attempt to a group. The transaction must have locked the payment of the attempt.
pub(super) fn update_attempt(group: &mut StatementGroup, tenant: TenantId, row: &AttemptRow, now: Timestamp) {
    let values = group.add(
        "update omni_payment_attempts set state = $4, provider_payment_id = $5, captured = $6, refunded = $7,
        fee = $8, fee_currency = $9, action_url = $10, error_code = $11, error_message = $12, pending_change = $13,
        pending_amount = $14, ended_at = $15, duration_ms = $16, check_at = $17, checks = $18, charged_back = $19
        where tenant_id = $1 and payment_id = $2 and number = $3",
    );
    values.push(tenant);
    values.push(row.payment_id);
    values.push(row.number);
    values.push(row.state.clone());
    values.push(row.provider_payment_id.clone());
    values.push(row.captured);
    values.push(row.refunded);
    values.push(row.fee);
    values.push(row.fee_currency.clone());
    values.push(row.action_url.clone());
    values.push(row.error_code.clone());
    values.push(row.error_message.clone());
    values.push(row.pending_change.clone());
    values.push(row.pending_amount);
    values.push(row.ended_at);
    values.push(row.duration_ms);
    values.push(row.check_at(now));
    values.push(row.checks);
    values.push(row.charged_back);
}

/// Inserts a refund.
pub(super) async fn insert_refund(tx: &mut Tx, payment: &PaymentRow, row: &RefundRow) -> Result<(), db::Error> {
    let sql = "insert into omni_payment_refunds (id, payment_id, attempt, tenant_id, environment, reference,
        request_key, state, amount, reason, check_at, checks, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, $12)";
    let insert = tx.query(sql).bind(row.id).bind(row.payment_id).bind(row.attempt).bind(payment.tenant_id);
    let insert = insert.bind(payment.environment.as_str()).bind(row.reference.as_str());
    let insert = insert.bind(row.request_key.as_str()).bind(row.state.as_str()).bind(row.amount);
    let insert = insert.bind(row.reason.clone()).bind(row.state().next_check(0, row.created_at));
    insert.bind(row.created_at).execute().await.map(drop)
}

/// Updates a refund. The transaction must have locked its payment.
pub(super) async fn update_refund(
    tx: &mut Tx,
    tenant: TenantId,
    row: &RefundRow,
    now: Timestamp,
) -> Result<(), db::Error> {
    let sql =
        "update omni_payment_refunds set state = $3, provider_refund_id = $4, error_code = $5, error_message = $6,
        check_at = $7, checks = $8, updated_at = $9 where tenant_id = $1 and id = $2";
    let update = tx.query(sql).bind(tenant).bind(row.id).bind(row.state.as_str());
    let update = update.bind(row.provider_refund_id.clone()).bind(row.error_code.clone());
    let update = update.bind(row.error_message.clone()).bind(row.state().next_check(row.checks, now));
    update.bind(row.checks).bind(now).execute().await.map(drop)
}

const LOCK_PAYMENT: Sql = Sql {
    postgres: "select id, tenant_id, environment, request_key, amount, currency, method, capture, country, description,
        metadata, api_key_id, status, captured, refunded, charged_back, version, created_at, updated_at
        from omni_payments
        where tenant_id = $1 and id = $2 for update",
    sqlite: "select id, tenant_id, environment, request_key, amount, currency, method, capture, country, description,
        metadata, api_key_id, status, captured, refunded, charged_back, version, created_at, updated_at
        from omni_payments
        where tenant_id = $1 and id = $2",
};

/// Returns a payment, and keeps other transactions from changing it. On SQLite no other transaction writes anyway.
pub(super) async fn lock(tx: &mut Tx, tenant: TenantId, id: PaymentId) -> Result<Option<StoredPayment>, db::Error> {
    let row: Option<PaymentRow> = tx.query(LOCK_PAYMENT).bind(tenant).bind(id).fetch_optional().await?;
    complete(tx, row).await
}

/// Returns a payment.
pub(super) async fn find(tx: &mut Tx, tenant: TenantId, id: PaymentId) -> Result<Option<StoredPayment>, db::Error> {
    let sql = format!("select {PAYMENT_COLUMNS} from omni_payments where tenant_id = $1 and id = $2");
    let row = tx.query(AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional().await?;
    complete(tx, row).await
}

/// Returns the payment with this key.
pub(super) async fn find_by_key(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
    key: &str,
) -> Result<Option<StoredPayment>, db::Error> {
    let sql = format!(
        "select {PAYMENT_COLUMNS} from omni_payments where tenant_id = $1 and environment = $2 and request_key = $3"
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(tenant).bind(environment.as_str()).bind(key.to_owned());
    let row = select.fetch_optional().await?;
    complete(tx, row).await
}

async fn complete(tx: &mut Tx, row: Option<PaymentRow>) -> Result<Option<StoredPayment>, db::Error> {
    let Some(row) = row else { return Ok(None) };
    let sql = format!(
        "select {ATTEMPT_COLUMNS} from omni_payment_attempts where tenant_id = $1 and payment_id = $2 order by number"
    );
    let attempts = tx.query(AssertSqlSafe(sql)).bind(row.tenant_id).bind(row.id).fetch_all().await?;
    // Without money there is no refund and no dispute, so that most payments need fewer queries.
    let (refunds, disputes) = match row.captured {
        0 => (Vec::new(), Vec::new()),
        _ => (refunds(tx, &row).await?, dispute_rows::all(tx, row.tenant_id, row.id).await?),
    };
    StoredPayment { row, attempts, refunds, disputes }.checked().map(Some)
}

async fn refunds(tx: &mut Tx, payment: &PaymentRow) -> Result<Vec<RefundRow>, db::Error> {
    let sql = format!(
        "select {REFUND_COLUMNS} from omni_payment_refunds where tenant_id = $1 and payment_id = $2 order by id"
    );
    tx.query(AssertSqlSafe(sql)).bind(payment.tenant_id).bind(payment.id).fetch_all().await
}

/// The payments to list.
#[derive(Clone, Copy, Debug)]
pub(super) struct PaymentFilter {
    pub(super) environment: DataEnvironment,
    pub(super) status: Option<PaymentState>,
    /// Only payments that are older than this one.
    pub(super) before: PaymentId,
}

/// Returns the newest payments that match.
pub(super) async fn newest(
    tx: &mut Tx,
    tenant: TenantId,
    filter: PaymentFilter,
    limit: u32,
) -> Result<Vec<StoredPayment>, db::Error> {
    let condition = if filter.status.is_some() { "and status = $5" } else { "" };
    let sql = format!(
        "select {PAYMENT_COLUMNS} from omni_payments where tenant_id = $1 and environment = $2 and id < $3 {condition}
         order by id desc limit $4"
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(tenant).bind(filter.environment.as_str()).bind(filter.before);
    let select = select.bind(i64::from(limit));
    let select = match filter.status {
        Some(status) => select.bind(status.as_str()),
        None => select,
    };
    let rows: Vec<PaymentRow> = select.fetch_all().await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let attempts: Vec<AttemptRow> = of_payments(tx, tenant, &rows, ATTEMPT_COLUMNS, "omni_payment_attempts").await?;
    let refunds: Vec<RefundRow> = of_payments(tx, tenant, &rows, REFUND_COLUMNS, "omni_payment_refunds").await?;
    let columns = dispute_rows::COLUMNS;
    let disputes: Vec<DisputeRow> = of_payments(tx, tenant, &rows, columns, "omni_payment_disputes").await?;
    let payment = |row| StoredPayment { row, attempts: Vec::new(), refunds: Vec::new(), disputes: Vec::new() };
    let mut payments: Vec<_> = rows.into_iter().map(payment).collect();
    let index: HashMap<PaymentId, usize> =
        payments.iter().enumerate().map(|(index, payment)| (payment.row.id, index)).collect();
    for attempt in attempts {
        if let Some(payment) = index.get(&attempt.payment_id).and_then(|index| payments.get_mut(*index)) {
            payment.attempts.push(attempt);
        }
    }
    for refund in refunds {
        if let Some(payment) = index.get(&refund.payment_id).and_then(|index| payments.get_mut(*index)) {
            payment.refunds.push(refund);
        }
    }
    for dispute in disputes {
        if let Some(payment) = index.get(&dispute.payment_id).and_then(|index| payments.get_mut(*index)) {
            payment.disputes.push(dispute);
        }
    }
    for payment in &mut payments {
        payment.attempts.sort_by_key(|attempt| attempt.number);
        payment.refunds.sort_by_key(|refund| refund.id);
        payment.disputes.sort_by_key(|dispute| dispute.id);
    }
    payments.into_iter().map(StoredPayment::checked).collect()
}

/// Returns the rows of a table that belong to these payments.
async fn of_payments<T: Record>(
    tx: &mut Tx,
    tenant: TenantId,
    payments: &[PaymentRow],
    columns: &str,
    table: &str,
) -> Result<Vec<T>, db::Error> {
    let mut args = Arguments::new(tx.dialect());
    let tenant = args.push(tenant);
    let ids: Vec<_> = payments.iter().map(|payment| format!("${}", args.push(payment.id))).collect();
    let ids = ids.join(", ");
    let sql = format!("select {columns} from {table} where tenant_id = ${tenant} and payment_id in ({ids})");
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
}

/// An attempt or a refund about which its provider has to be asked.
pub(super) type DueCheck = (TenantId, PaymentId, i32);

/// Returns attempts about which their providers have to be asked. The transaction must be one of all tenants.
pub(super) async fn due_attempts(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<DueCheck>, db::Error> {
    let sql = "select tenant_id, payment_id, number from omni_payment_attempts where check_at <= $1
        order by check_at limit $2";
    tx.query(sql).bind(now).bind(limit).fetch_all().await
}

/// Returns refunds about which their providers have to be asked. The transaction must be one of all tenants.
pub(super) async fn due_refunds(
    tx: &mut Tx,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(TenantId, PaymentId, PaymentRefundId)>, db::Error> {
    let sql = "select tenant_id, payment_id, id from omni_payment_refunds where check_at <= $1
        order by check_at limit $2";
    tx.query(sql).bind(now).bind(limit).fetch_all().await
}

/// Returns the attempts with this id at a service, or with this reference. The transaction must be one of all tenants.
pub(super) async fn attempts_at(
    tx: &mut Tx,
    service: &str,
    environment: DataEnvironment,
    provider_id: &str,
    reference: Option<&str>,
) -> Result<Vec<DueCheck>, db::Error> {
    let sql = "select tenant_id, payment_id, number from omni_payment_attempts
        where service = $1 and environment = $2 and provider_payment_id = $3 limit $4";
    let select = tx.query(sql).bind(service.to_owned()).bind(environment.as_str()).bind(provider_id.to_owned());
    let select = select.bind(MAX_ATTEMPTS_OF_EVENT);
    let found: Vec<DueCheck> = select.fetch_all().await?;
    let Some(reference) = reference.filter(|_| found.is_empty()) else { return Ok(found) };
    let sql = "select tenant_id, payment_id, number from omni_payment_attempts
        where reference = $1 and service = $2 and environment = $3";
    let select = tx.query(sql).bind(reference.to_owned()).bind(service.to_owned()).bind(environment.as_str());
    select.fetch_all().await
}
