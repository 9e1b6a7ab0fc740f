//! The rows of payments, attempts and refunds.

use std::collections::BTreeMap;

use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    db::{self, ErrorKind, Sql, Tx},
    identity::{ApiKeyId, TenantId},
    money::{Currency, Money},
    payment::{CaptureMode, PaymentMethodKind},
};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::{
    machine::{AttemptState, PaymentState, RefundState, main_attempt},
    model::{
        MinorAmount, Payment, PaymentAttempt, PaymentFailure, PaymentId, PaymentRefund, PaymentRefundId, PendingChange,
        RefundProposal,
    },
    postings::{PaymentTotals, PostingScope},
};

/// Largest length of a stored message, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

const PAYMENT_COLUMNS: &str = "id, tenant_id, environment, request_key, amount, currency, method, capture, country,
    description, metadata, api_key_id, status, captured, refunded, version, created_at, updated_at";
const ATTEMPT_COLUMNS: &str = "payment_id, number, service, reference, request_key, state, forced, provider_payment_id,
    captured, refunded, fee, fee_currency, fee_estimate, action_url, error_code, error_message, pending_change,
    pending_amount, started_at, ended_at, duration_ms, checks";
const REFUND_COLUMNS: &str = "id, payment_id, attempt, reference, request_key, state, amount, reason,
    provider_refund_id, error_code, error_message, checks, created_at, updated_at";

/// A payment as its row has it.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct PaymentRow {
    pub(super) id: PaymentId,
    pub(super) tenant_id: TenantId,
    environment: String,
    pub(super) request_key: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) method: String,
    pub(super) capture: String,
    pub(super) country: Option<String>,
    pub(super) description: Option<String>,
    metadata: String,
    pub(super) api_key_id: Option<ApiKeyId>,
    status: String,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) version: i64,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// The values of a new payment.
pub(super) struct NewPaymentRow {
    pub(super) id: PaymentId,
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) request_key: String,
    pub(super) amount: Money,
    pub(super) method: PaymentMethodKind,
    pub(super) capture: CaptureMode,
    pub(super) country: Option<String>,
    pub(super) description: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) api_key: Option<ApiKeyId>,
    pub(super) now: Timestamp,
}

impl PaymentRow {
    pub(super) fn new(new: NewPaymentRow) -> Self {
        Self {
            id: new.id,
            tenant_id: new.tenant,
            environment: new.environment.as_str().to_owned(),
            request_key: new.request_key,
            amount: new.amount.minor(),
            currency: new.amount.currency().code().to_owned(),
            method: name_of(new.method),
            capture: name_of(new.capture),
            country: new.country,
            description: new.description,
            metadata: serde_json::to_string(&new.metadata).unwrap_or_else(|_| "{}".to_owned()),
            api_key_id: new.api_key,
            status: PaymentState::Created.as_str().to_owned(),
            captured: 0,
            refunded: 0,
            version: 1,
            created_at: new.now,
            updated_at: new.now,
        }
    }

    pub(super) fn environment(&self) -> DataEnvironment {
        self.environment.parse().unwrap_or_default()
    }

    pub(super) fn status(&self) -> PaymentState {
        PaymentState::from_stored(&self.status)
    }

    pub(super) fn set_status(&mut self, status: PaymentState) {
        status.as_str().clone_into(&mut self.status);
    }

    pub(super) fn method(&self) -> PaymentMethodKind {
        read_name(&self.method).unwrap_or(PaymentMethodKind::Other)
    }

    pub(super) fn capture(&self) -> CaptureMode {
        read_name(&self.capture).unwrap_or_default()
    }

    pub(super) fn metadata(&self) -> BTreeMap<String, String> {
        serde_json::from_str(&self.metadata).unwrap_or_default()
    }

    /// Returns an amount in the payment's currency.
    pub(super) fn money(&self, minor: i64) -> Result<Money, db::Error> {
        let currency = Currency::from_code(&self.currency);
        let unknown = || db::Error::new(ErrorKind::InvalidValue, format!("currency {}", self.currency).into());
        currency.map(|currency| Money::new(minor, currency)).ok_or_else(unknown)
    }

    pub(super) fn totals(&self) -> PaymentTotals {
        PaymentTotals { amount: self.amount, captured: self.captured, refunded: self.refunded }
    }

    pub(super) fn scope(&self) -> PostingScope {
        PostingScope { tenant: self.tenant_id, environment: self.environment(), payment: self.id }
    }
}

/// Returns the name that JSON has for a value of an enum.
pub(super) fn name_of(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

fn read_name<T: serde::de::DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(Value::String(name.to_owned())).ok()
}

/// An attempt as its row has it.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct AttemptRow {
    pub(super) payment_id: PaymentId,
    pub(super) number: i32,
    pub(super) service: String,
    pub(super) reference: String,
    pub(super) request_key: Option<String>,
    state: String,
    pub(super) forced: bool,
    pub(super) provider_payment_id: Option<String>,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) fee: Option<i64>,
    pub(super) fee_currency: Option<String>,
    pub(super) fee_estimate: Option<i64>,
    pub(super) action_url: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    pending_change: Option<String>,
    pub(super) pending_amount: Option<i64>,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) duration_ms: Option<i64>,
    pub(super) checks: i32,
}

impl AttemptRow {
    /// Creates the row of an attempt that begins now.
    pub(super) fn new(payment: PaymentId, number: i32, service: &str, now: Timestamp) -> Self {
        Self {
            payment_id: payment,
            number,
            service: service.to_owned(),
            reference: reference(payment, number),
            request_key: None,
            state: AttemptState::Sent.as_str().to_owned(),
            forced: false,
            provider_payment_id: None,
            captured: 0,
            refunded: 0,
            fee: None,
            fee_currency: None,
            fee_estimate: None,
            action_url: None,
            error_code: None,
            error_message: None,
            pending_change: None,
            pending_amount: None,
            started_at: now,
            ended_at: None,
            duration_ms: None,
            checks: 0,
        }
    }

    pub(super) fn state(&self) -> AttemptState {
        AttemptState::from_stored(&self.state)
    }

    pub(super) fn set_state(&mut self, state: AttemptState) {
        state.as_str().clone_into(&mut self.state);
    }

    pub(super) fn pending_change(&self) -> Option<PendingChange> {
        match self.pending_change.as_deref()? {
            "capture" => Some(PendingChange::Capture),
            _ => Some(PendingChange::Cancel),
        }
    }

    pub(super) fn set_pending_change(&mut self, change: Option<(PendingChange, i64)>) {
        self.pending_change = change.map(|(change, _)| change.as_str().to_owned());
        self.pending_amount = change.map(|(_, amount)| amount);
    }

    pub(super) fn failure(&self) -> Option<PaymentFailure> {
        let code = self.error_code.clone()?;
        Some(PaymentFailure::new(code, self.error_message.clone().unwrap_or_default()))
    }

    pub(super) fn set_failure(&mut self, failure: Option<PaymentFailure>) {
        (self.error_code, self.error_message) = columns_of(failure);
    }

    /// Returns when the provider is asked about the attempt.
    fn check_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.state().next_check(self.pending_change.is_some(), self.checks, self.started_at, now)
    }

    /// Returns the cost in the payment's currency: the fee, or its estimate. It is zero before money was taken, and if
    /// the fee is in another currency.
    pub(super) fn cost(&self, currency: &str) -> i64 {
        if self.captured == 0 {
            return 0;
        }
        match (self.fee, self.fee_currency.as_deref()) {
            (Some(fee), Some(of)) if of == currency => fee,
            (Some(_), _) => 0,
            (None, _) => self.fee_estimate.unwrap_or(0),
        }
    }

    fn show(&self) -> PaymentAttempt {
        PaymentAttempt {
            number: self.number,
            provider: self.service.clone(),
            reference: self.reference.clone(),
            provider_payment_id: self.provider_payment_id.clone(),
            status: self.state(),
            forced: self.forced,
            captured: self.captured,
            refunded: self.refunded,
            pending_change: self.pending_change(),
            error: self.failure(),
            started_at: self.started_at,
            duration_ms: self.duration_ms,
        }
    }
}

/// Returns the reference of an attempt, which is unique and has at most 40 characters, the limit of Razorpay.
pub(super) fn reference(payment: PaymentId, number: i32) -> String {
    let id = payment.uuid().simple();
    if number == 1 { format!("pay_{id}") } else { format!("pay_{id}_{number}") }
}

fn columns_of(failure: Option<PaymentFailure>) -> (Option<String>, Option<String>) {
    let short = |text: String| text.chars().filter(|letter| *letter != '\0').take(MAX_MESSAGE_CHARS).collect();
    failure.map(|failure| (short(failure.code), short(failure.message))).unzip()
}

/// A refund as its row has it.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct RefundRow {
    pub(super) id: PaymentRefundId,
    pub(super) payment_id: PaymentId,
    pub(super) attempt: i32,
    pub(super) reference: String,
    pub(super) request_key: String,
    state: String,
    pub(super) amount: i64,
    pub(super) reason: Option<String>,
    pub(super) provider_refund_id: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    pub(super) checks: i32,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl RefundRow {
    /// Creates the row of a refund that begins now.
    pub(super) fn new(attempt: &AttemptRow, request_key: &str, amount: i64, now: Timestamp) -> Self {
        let id = PaymentRefundId::new(now);
        Self {
            id,
            payment_id: attempt.payment_id,
            attempt: attempt.number,
            reference: format!("ref_{}", id.uuid().simple()),
            request_key: request_key.to_owned(),
            state: RefundState::Sent.as_str().to_owned(),
            amount,
            reason: None,
            provider_refund_id: None,
            error_code: None,
            error_message: None,
            checks: 0,
            created_at: now,
            updated_at: now,
        }
    }

    pub(super) fn state(&self) -> RefundState {
        RefundState::from_stored(&self.state)
    }

    pub(super) fn set_state(&mut self, state: RefundState) {
        state.as_str().clone_into(&mut self.state);
    }

    pub(super) fn set_failure(&mut self, failure: Option<PaymentFailure>) {
        (self.error_code, self.error_message) = columns_of(failure);
    }

    fn show(&self) -> PaymentRefund {
        let failure = |code| PaymentFailure::new(code, self.error_message.clone().unwrap_or_default());
        PaymentRefund {
            id: self.id,
            attempt: self.attempt,
            status: self.state(),
            amount: self.amount,
            reason: self.reason.clone(),
            provider_refund_id: self.provider_refund_id.clone(),
            error: self.error_code.clone().map(failure),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// A payment with its attempts and refunds.
#[derive(Clone, Debug)]
pub(super) struct StoredPayment {
    pub(super) row: PaymentRow,
    pub(super) attempts: Vec<AttemptRow>,
    pub(super) refunds: Vec<RefundRow>,
}

impl StoredPayment {
    pub(super) fn states(&self) -> Vec<AttemptState> {
        self.attempts.iter().map(AttemptRow::state).collect()
    }

    /// Returns the index of the attempt with this number.
    pub(super) fn index_of(&self, number: i32) -> Option<usize> {
        self.attempts.iter().position(|attempt| attempt.number == number)
    }

    /// Returns the amount that an attempt has taken and that is not sent back, nor about to be.
    pub(super) fn refundable(&self, attempt: &AttemptRow) -> i64 {
        let open = self.refunds.iter().filter(|refund| refund.attempt == attempt.number && refund.state().is_open());
        attempt.captured - attempt.refunded - open.map(|refund| refund.amount).sum::<i64>()
    }

    /// Returns the refund that makes up for what was paid too much: of the last attempts that have taken money.
    pub(super) fn proposal(&self) -> Option<RefundProposal> {
        let kept: i64 = self.attempts.iter().map(|attempt| self.refundable(attempt)).sum();
        let surplus = kept - self.row.amount;
        if surplus <= 0 {
            return None;
        }
        let last = self.attempts.iter().rev().find(|attempt| self.refundable(attempt) > 0)?;
        Some(RefundProposal::new(last.number, surplus.min(self.refundable(last))))
    }

    pub(super) fn show(&self) -> Payment {
        let main = main_attempt(&self.states()).and_then(|index| self.attempts.get(index));
        let mut fees: BTreeMap<String, i64> = BTreeMap::new();
        for attempt in &self.attempts {
            if let (Some(fee), Some(currency)) = (attempt.fee, &attempt.fee_currency) {
                *fees.entry(currency.clone()).or_default() += fee;
            }
        }
        Payment {
            id: self.row.id,
            environment: self.row.environment(),
            status: self.row.status(),
            amount: self.row.amount,
            currency: self.row.currency.clone(),
            captured: self.row.captured,
            refunded: self.row.refunded,
            fees: fees.into_iter().map(|(currency, fee)| MinorAmount::new(fee, currency)).collect(),
            method: self.row.method(),
            capture: self.row.capture(),
            country: self.row.country.clone(),
            description: self.row.description.clone(),
            metadata: self.row.metadata(),
            provider: main.map(|attempt| attempt.service.clone()),
            provider_payment_id: main.and_then(|attempt| attempt.provider_payment_id.clone()),
            action_url: main.and_then(|attempt| attempt.action_url.clone()),
            error: main.and_then(AttemptRow::failure),
            refund_proposal: self.proposal(),
            attempts: self.attempts.iter().map(AttemptRow::show).collect(),
            refunds: self.refunds.iter().map(RefundRow::show).collect(),
            api_key_id: self.row.api_key_id,
            created_at: self.row.created_at,
            updated_at: self.row.updated_at,
        }
    }
}

/// Inserts a payment. Returns `false` if the tenant has one with the same key.
pub(super) async fn insert_payment(tx: &mut Tx, row: &PaymentRow) -> Result<bool, db::Error> {
    let sql = "insert into omni_payments (id, tenant_id, environment, request_key, amount, currency, method, capture,
        country, description, metadata, api_key_id, status, captured, refunded, version, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, 0, $14, $15, $15)
        on conflict (tenant_id, environment, request_key) do nothing";
    let insert = tx.query(sql).bind(row.id).bind(row.tenant_id).bind(row.environment.as_str());
    let insert = insert.bind(row.request_key.as_str()).bind(row.amount).bind(row.currency.as_str());
    let insert = insert.bind(row.method.as_str()).bind(row.capture.as_str()).bind(row.country.as_deref());
    let insert = insert.bind(row.description.as_deref()).bind(row.metadata.as_str()).bind(row.api_key_id);
    let insert = insert.bind(row.status.as_str()).bind(row.version).bind(row.created_at);
    Ok(insert.execute().await? > 0)
}

/// Updates what changes of a payment that the transaction has locked, and counts the change.
pub(super) async fn update_payment(tx: &mut Tx, row: &mut PaymentRow, now: Timestamp) -> Result<(), db::Error> {
    row.version += 1;
    row.updated_at = now;
    let sql = "update omni_payments set status = $3, captured = $4, refunded = $5, version = $6, updated_at = $7
        where tenant_id = $1 and id = $2";
    let update = tx.query(sql).bind(row.tenant_id).bind(row.id).bind(row.status.as_str()).bind(row.captured);
    update.bind(row.refunded).bind(row.version).bind(row.updated_at).execute().await.map(drop)
}

/// Inserts an attempt, about which the provider is asked if the process crashes.
pub(super) async fn insert_attempt(tx: &mut Tx, payment: &PaymentRow, row: &AttemptRow) -> Result<(), db::Error> {
    let sql = "insert into omni_payment_attempts (payment_id, number, tenant_id, environment, service, reference,
        request_key, state, forced, captured, refunded, fee_estimate, started_at, check_at, checks)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, $10, $11, $12, 0)";
    let insert = tx.query(sql).bind(row.payment_id).bind(row.number).bind(payment.tenant_id);
    let insert = insert.bind(payment.environment.as_str()).bind(row.service.as_str()).bind(row.reference.as_str());
    let insert = insert.bind(row.request_key.as_deref()).bind(row.state.as_str()).bind(row.forced);
    let insert = insert.bind(row.fee_estimate).bind(row.started_at).bind(row.check_at(row.started_at));
    insert.execute().await.map(drop)
}

/// Updates what changes of an attempt of a payment that the transaction has locked.
pub(super) async fn update_attempt(
    tx: &mut Tx,
    tenant: TenantId,
    row: &AttemptRow,
    now: Timestamp,
) -> Result<(), db::Error> {
    let sql = "update omni_payment_attempts set state = $4, provider_payment_id = $5, captured = $6, refunded = $7,
        fee = $8, fee_currency = $9, action_url = $10, error_code = $11, error_message = $12, pending_change = $13,
        pending_amount = $14, ended_at = $15, duration_ms = $16, check_at = $17, checks = $18
        where tenant_id = $1 and payment_id = $2 and number = $3";
    let update = tx.query(sql).bind(tenant).bind(row.payment_id).bind(row.number).bind(row.state.as_str());
    let update = update.bind(row.provider_payment_id.as_deref()).bind(row.captured).bind(row.refunded).bind(row.fee);
    let update = update.bind(row.fee_currency.as_deref()).bind(row.action_url.as_deref());
    let update = update.bind(row.error_code.as_deref()).bind(row.error_message.as_deref());
    let update = update.bind(row.pending_change.as_deref()).bind(row.pending_amount).bind(row.ended_at);
    update.bind(row.duration_ms).bind(row.check_at(now)).bind(row.checks).execute().await.map(drop)
}

/// Inserts a refund.
pub(super) async fn insert_refund(tx: &mut Tx, payment: &PaymentRow, row: &RefundRow) -> Result<(), db::Error> {
    let sql = "insert into omni_payment_refunds (id, payment_id, attempt, tenant_id, environment, reference, request_key,
        state, amount, reason, check_at, checks, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, $12)";
    let insert = tx.query(sql).bind(row.id).bind(row.payment_id).bind(row.attempt).bind(payment.tenant_id);
    let insert = insert.bind(payment.environment.as_str()).bind(row.reference.as_str());
    let insert = insert.bind(row.request_key.as_str()).bind(row.state.as_str()).bind(row.amount);
    let insert = insert.bind(row.reason.as_deref()).bind(row.state().next_check(0, row.created_at));
    insert.bind(row.created_at).execute().await.map(drop)
}

/// Updates what changes of a refund of a payment that the transaction has locked.
pub(super) async fn update_refund(
    tx: &mut Tx,
    tenant: TenantId,
    row: &RefundRow,
    now: Timestamp,
) -> Result<(), db::Error> {
    let sql = "update omni_payment_refunds set state = $3, provider_refund_id = $4, error_code = $5, error_message = $6,
        check_at = $7, checks = $8, updated_at = $9 where tenant_id = $1 and id = $2";
    let update = tx.query(sql).bind(tenant).bind(row.id).bind(row.state.as_str());
    let update = update.bind(row.provider_refund_id.as_deref()).bind(row.error_code.as_deref());
    let update = update.bind(row.error_message.as_deref()).bind(row.state().next_check(row.checks, now));
    update.bind(row.checks).bind(now).execute().await.map(drop)
}

const LOCK_PAYMENT: Sql = Sql {
    postgres: "select id, tenant_id, environment, request_key, amount, currency, method, capture, country, description,
        metadata, api_key_id, status, captured, refunded, version, created_at, updated_at from omni_payments
        where tenant_id = $1 and id = $2 for update",
    sqlite: "select id, tenant_id, environment, request_key, amount, currency, method, capture, country, description,
        metadata, api_key_id, status, captured, refunded, version, created_at, updated_at from omni_payments
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
    // Without money there is no refund, so that most payments need one query less.
    let refunds = if row.captured == 0 { Vec::new() } else { refunds(tx, &row).await? };
    Ok(Some(StoredPayment { row, attempts, refunds }))
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
    let mut payments = Vec::with_capacity(rows.len());
    for row in rows {
        payments.extend(complete(tx, Some(row)).await?);
    }
    Ok(payments)
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
        where service = $1 and environment = $2 and provider_payment_id = $3";
    let select = tx.query(sql).bind(service.to_owned()).bind(environment.as_str()).bind(provider_id.to_owned());
    let found: Vec<DueCheck> = select.fetch_all().await?;
    let Some(reference) = reference.filter(|_| found.is_empty()) else { return Ok(found) };
    let sql = "select tenant_id, payment_id, number from omni_payment_attempts
        where reference = $1 and service = $2 and environment = $3";
    let select = tx.query(sql).bind(reference.to_owned()).bind(service.to_owned()).bind(environment.as_str());
    select.fetch_all().await
}
