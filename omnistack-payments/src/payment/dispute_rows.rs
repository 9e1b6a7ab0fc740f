//! Disputes as their rows have them.

use omnistack_core::{
    clock::Timestamp,
    db::{self, Tx},
    identity::TenantId,
    payment::ProviderDispute,
};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    machine::DisputeState,
    model::{MinorAmount, PaymentDispute, PaymentDisputeId, PaymentId},
    postings::PostingScope,
};

/// The columns of [`DisputeRow`].
pub(super) const COLUMNS: &str = "id, payment_id, attempt, provider_dispute_id, state, amount, currency,
    refunded_before, fee, fee_currency, created_at, updated_at";

/// A dispute as its row has it.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct DisputeRow {
    pub(super) id: PaymentDisputeId,
    pub(super) payment_id: PaymentId,
    pub(super) attempt: i32,
    pub(super) provider_dispute_id: String,
    pub(super) state: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    /// The amount that was refunded of the attempt when the dispute was opened, without the refunds of the app.
    pub(super) refunded_before: i64,
    pub(super) fee: Option<i64>,
    pub(super) fee_currency: Option<String>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl DisputeRow {
    /// Creates the row of a dispute that is reported for the first time.
    pub(super) fn new(payment: PaymentId, attempt: i32, reported: &ProviderDispute, now: Timestamp) -> Self {
        Self {
            id: PaymentDisputeId::new(now),
            payment_id: payment,
            attempt,
            provider_dispute_id: reported.id.clone(),
            state: DisputeState::Open.as_str().to_owned(),
            amount: 0,
            currency: reported.amount.currency().code().to_owned(),
            refunded_before: 0,
            fee: None,
            fee_currency: None,
            created_at: now,
            updated_at: now,
        }
    }

    pub(super) fn state(&self) -> DisputeState {
        DisputeState::from_stored(&self.state).unwrap_or(DisputeState::Open)
    }

    /// Takes what the provider reports.
    pub(super) fn take(&mut self, reported: &ProviderDispute, now: Timestamp) {
        let state = DisputeState::of(reported.won);
        let after = self.state().after(state);
        // A late report that the dispute is open says nothing of what was decided.
        if after == state {
            self.amount = reported.amount.minor();
            reported.amount.currency().code().clone_into(&mut self.currency);
        }
        if let Some(fee) = reported.fee {
            let currency = fee.currency().code();
            // A fee is reported in the currency in which the account is paid out, which does not change.
            if self.fee_currency.as_deref().is_none_or(|known| known == currency) {
                self.fee = Some(fee.minor());
                self.fee_currency = Some(currency.to_owned());
            }
        }
        after.as_str().clone_into(&mut self.state);
        self.updated_at = now;
    }

    pub(super) fn show(&self) -> PaymentDispute {
        let fee = self.fee.zip(self.fee_currency.clone());
        PaymentDispute {
            id: self.id,
            attempt: self.attempt,
            provider_dispute_id: self.provider_dispute_id.clone(),
            status: self.state(),
            amount: self.amount,
            currency: self.currency.clone(),
            fee: fee.map(|(fee, currency)| MinorAmount::new(fee, currency)),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// Returns the disputes of a payment, the oldest first.
pub(super) async fn all(tx: &mut Tx, tenant: TenantId, payment: PaymentId) -> Result<Vec<DisputeRow>, db::Error> {
    let sql =
        format!("select {COLUMNS} from omni_payment_disputes where tenant_id = $1 and payment_id = $2 order by id");
    tx.query(AssertSqlSafe(sql)).bind(tenant).bind(payment).fetch_all().await
}

/// Returns the state of a tenant's dispute with an id of the provider, or `None` if it is not stored.
pub(super) async fn state_of(
    tx: &mut Tx,
    tenant: TenantId,
    provider_dispute_id: &str,
) -> Result<Option<DisputeState>, db::Error> {
    let sql = "select id, state from omni_payment_disputes where tenant_id = $1 and provider_dispute_id = $2 limit 1";
    let select = tx.query(sql).bind(tenant).bind(provider_dispute_id);
    let Some((id, state)): Option<(PaymentDisputeId, String)> = select.fetch_optional().await? else {
        return Ok(None);
    };
    let unreadable = || db::Error::unreadable("omni_payment_disputes", id, "state");
    DisputeState::from_stored(&state).map(Some).ok_or_else(unreadable)
}

/// A stored dispute that can still change: it is open, or lost and can be won.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct ChangeableDispute {
    pub(super) id: PaymentDisputeId,
    pub(super) tenant_id: TenantId,
    pub(super) payment_id: PaymentId,
    pub(super) attempt: i32,
    pub(super) provider_dispute_id: String,
    state: String,
}

impl ChangeableDispute {
    /// Returns the state.
    ///
    /// # Errors
    /// Fails if the stored state can't be read.
    pub(super) fn state(&self) -> Result<DisputeState, db::Error> {
        let unreadable = || db::Error::unreadable("omni_payment_disputes", self.id, "state");
        DisputeState::from_stored(&self.state).ok_or_else(unreadable)
    }
}

/// Returns stored disputes that can still change, after an id, the oldest first: those that were stored since a time. The
/// transaction must be one of all tenants.
pub(super) async fn changeable(
    tx: &mut Tx,
    since: Timestamp,
    after: Option<PaymentDisputeId>,
    limit: i64,
) -> Result<Vec<ChangeableDispute>, db::Error> {
    let sql = "select id, tenant_id, payment_id, attempt, provider_dispute_id, state from omni_payment_disputes
        where state <> 'won' and created_at >= $1 and id > $2 order by id limit $3";
    let after = after.unwrap_or_else(|| PaymentDisputeId::from_uuid(Uuid::nil()));
    tx.query(sql).bind(since).bind(after).bind(limit).fetch_all().await
}

/// Inserts or updates a dispute of a payment that the transaction has locked.
pub(super) async fn save(tx: &mut Tx, payment: PostingScope, row: &DisputeRow) -> Result<(), db::Error> {
    let sql = "insert into omni_payment_disputes (id, payment_id, attempt, tenant_id, environment, provider_dispute_id,
        state, amount, currency, fee, fee_currency, created_at, updated_at, refunded_before)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        on conflict (payment_id, provider_dispute_id) do update set state = excluded.state, amount = excluded.amount,
            currency = excluded.currency, fee = excluded.fee, fee_currency = excluded.fee_currency,
            updated_at = excluded.updated_at";
    let insert = tx.query(sql).bind(row.id).bind(row.payment_id).bind(row.attempt).bind(payment.tenant);
    let insert = insert.bind(payment.environment.as_str()).bind(row.provider_dispute_id.as_str());
    let insert = insert.bind(row.state.as_str()).bind(row.amount).bind(row.currency.as_str()).bind(row.fee);
    let insert = insert.bind(row.fee_currency.clone()).bind(row.created_at).bind(row.updated_at);
    insert.bind(row.refunded_before).execute().await.map(drop)
}
