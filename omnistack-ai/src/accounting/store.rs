//! The rows of calls.
//!
//! Locks are taken in this order on PostgreSQL: rows of calls, each list in the order of the ids, then rows of what is
//! used of budgets, in the order of their keys. SQLite has one writer.

use omnistack_core::{
    clock::Timestamp,
    db::{BulkInsert, Error, Tx},
    identity::{ApiKeyId, TenantId, UserId},
};

use super::{
    budget::{BudgetWindow, UsedAmounts},
    call::CallStatus,
    operation::{CallSettlement, NewCall, to_i64, to_millis},
};
use crate::{
    call::{AiCaller, CallId},
    catalog::Cost,
};

static INSERT_CALLS: BulkInsert<16> = BulkInsert::new(
    "insert into omni_ai_calls (id, tenant_id, environment, user_id, api_key_id, asked_model, prompt, purpose,
    started_at, expires_at, reserved_input, reserved_output, reserved_pico, reserved_credits, reserved_in,
    variant) values",
    "",
);

/// Ends the call `$1` of the tenant `$2`. It returns no row if the call is not open.
const CLOSE_CALL: &str = "update omni_ai_calls set status = $3, provider = $4, model = $5, input_tokens = $6,
    cached_tokens = $7, cache_write_tokens = $8, cache_write_long_tokens = $9, output_tokens = $10,
    reasoning_tokens = $11, is_estimated = $12, cost_pico = $13, price_unknown = $14, is_cached = $15, attempts = $16,
    error = $17, first_byte_ms = $18, duration_ms = $19, settled_at = $20
    where id = $1 and tenant_id = $2 and status = $21
    returning reserved_in, reserved_input, reserved_output, reserved_pico, reserved_credits";

/// Reads the call `$1` of the tenant `$2` if it is lost.
const SELECT_LOST: &str = "select input_tokens, output_tokens, cost_pico from omni_ai_calls
    where id = $1 and tenant_id = $2 and status = 'lost'";

/// Reads open calls that have expired at `$1`, at most `$2`.
const SELECT_EXPIRED: &str = "select id, tenant_id, environment, user_id, api_key_id, asked_model, started_at,
    reserved_input, reserved_output, reserved_pico from omni_ai_calls where status = 'open' and expires_at <= $1
    order by expires_at limit $2";

/// The reservation of a call that has ended, and the amounts of the call that were counted before.
#[derive(Clone, Debug, Default)]
pub(super) struct ClosedCall {
    pub(super) reserved_in: Vec<BudgetWindow>,
    pub(super) reserved: UsedAmounts,
    /// The reserved credits, in millionths.
    pub(super) reserved_credits: i64,
    /// Whether the call was settled as lost before.
    pub(super) was_lost: bool,
    pub(super) counted: UsedAmounts,
}

#[derive(omnistack_core::db::FromRow)]
struct ReservedRow {
    #[sqlx(rename = "reserved_in")]
    windows: String,
    #[sqlx(rename = "reserved_input")]
    input: i64,
    #[sqlx(rename = "reserved_output")]
    output: i64,
    #[sqlx(rename = "reserved_pico")]
    pico: Option<i64>,
    #[sqlx(rename = "reserved_credits")]
    credits: i64,
}

/// A call whose process has ended.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct ExpiredCall {
    pub(super) id: CallId,
    tenant_id: TenantId,
    environment: String,
    user_id: Option<UserId>,
    api_key_id: Option<ApiKeyId>,
    pub(super) asked_model: String,
    pub(super) started_at: Timestamp,
    pub(super) reserved_input: i64,
    pub(super) reserved_output: i64,
    pub(super) reserved_pico: Option<i64>,
}

impl ExpiredCall {
    pub(super) fn caller(&self) -> AiCaller {
        AiCaller {
            tenant: self.tenant_id,
            environment: self.environment.parse().unwrap_or_default(),
            user: self.user_id,
            api_key: self.api_key_id,
        }
    }
}

/// Inserts calls with the budgets in which they are reserved.
pub(super) async fn insert_calls(tx: &mut Tx, calls: &[(&NewCall, Vec<BudgetWindow>)]) -> Result<(), Error> {
    INSERT_CALLS
        .execute(tx, calls, |args, (new, reserved_in)| {
            let held = &new.held;
            args.push(new.id);
            args.push(held.caller.tenant);
            args.push(held.caller.environment.as_str());
            args.push(held.caller.user);
            args.push(held.caller.api_key);
            args.push(held.asked_model.clone());
            args.push(new.prompt.clone());
            args.push(new.purpose);
            args.push(held.started_at);
            args.push(new.expires_at);
            args.push(to_i64(held.estimated_input));
            args.push(held.reserved_beyond_input());
            args.push(held.reserved_cost.map(Cost::pico));
            args.push(new.credits);
            // Keys of budgets are always JSON.
            args.push(serde_json::to_string(reserved_in).unwrap_or_default());
            args.push(held.variant.clone());
        })
        .await
        .map(drop)
}

/// Ends a call. Returns `None` if it was settled before.
pub(super) async fn close_call(tx: &mut Tx, settlement: &CallSettlement) -> Result<Option<ClosedCall>, Error> {
    if let Some(row) = update_call(tx, settlement, CallStatus::Open).await? {
        let tokens = row.input.saturating_add(row.output);
        let reserved = UsedAmounts { tokens, requests: 1, pico: row.pico.unwrap_or(0) };
        return Ok(Some(ClosedCall {
            reserved_in: serde_json::from_str(&row.windows).unwrap_or_default(),
            reserved,
            reserved_credits: row.credits,
            was_lost: false,
            counted: UsedAmounts::default(),
        }));
    }
    if settlement.status == CallStatus::Lost {
        return Ok(None);
    }
    // The call took longer than its time limit, and was given up.
    let lost = tx.query(SELECT_LOST).bind(settlement.id).bind(settlement.caller.tenant);
    let Some((input, output, pico)) = lost.fetch_optional::<(i64, i64, Option<i64>)>().await? else { return Ok(None) };
    if update_call(tx, settlement, CallStatus::Lost).await?.is_none() {
        return Ok(None);
    }
    let counted = UsedAmounts { tokens: input.saturating_add(output), requests: 1, pico: pico.unwrap_or(0) };
    Ok(Some(ClosedCall { was_lost: true, counted, ..ClosedCall::default() }))
}

async fn update_call(tx: &mut Tx, settlement: &CallSettlement, from: CallStatus) -> Result<Option<ReservedRow>, Error> {
    let CallSettlement { usage, .. } = settlement;
    let attempts = if settlement.attempts.is_empty() {
        "[]".to_owned()
    } else {
        serde_json::to_string(&settlement.attempts).unwrap_or_else(|_| "[]".to_owned())
    };
    let update = tx.query(CLOSE_CALL).bind(settlement.id).bind(settlement.caller.tenant);
    let update = update.bind(settlement.status.as_str()).bind(settlement.provider.clone());
    let update = update.bind(settlement.model.clone()).bind(to_i64(usage.input)).bind(to_i64(usage.cached));
    let update = update.bind(to_i64(usage.cache_write)).bind(to_i64(usage.cache_write_long));
    let update = update.bind(to_i64(usage.output)).bind(to_i64(usage.reasoning)).bind(settlement.is_estimated);
    let update = update.bind(settlement.cost.map(Cost::pico)).bind(settlement.cost.is_none());
    let update = update.bind(settlement.is_cached).bind(attempts).bind(settlement.error.as_deref().map(str::to_owned));
    let update = update.bind(settlement.first_byte.map(to_millis)).bind(to_millis(settlement.duration));
    update.bind(settlement.at).bind(from.as_str()).fetch_optional().await
}

/// Returns open calls that have expired, at most `limit`, in a transaction that sees all tenants.
pub(super) async fn expired_calls(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<ExpiredCall>, Error> {
    tx.query(SELECT_EXPIRED).bind(now).bind(limit).fetch_all().await
}
