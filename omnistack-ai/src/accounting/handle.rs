//! The handle of accounts.

use std::{fmt, sync::Arc, time::Duration};

use omnistack_core::{
    clock::Clock,
    credits::CreditAccounts,
    db::{Db, GroupCommit, GroupCommitError},
    events::Events,
    http::{Error, StatusCode},
    id::Id,
    identity::{Entitlements, Plan},
    usage::{UsageSink, meters},
};
use tokio_util::task::TaskTracker;

use super::{
    budget::BudgetLimits,
    call::CallStart,
    open_call::{HeldCall, OpenCall},
    operation::{CallSettlement, LedgerAnswer, LedgerOperation, NewCall, stored_name},
    pending::PendingSettlements,
    settings::AiAccountingSettings,
};
use crate::{
    catalog::{Cost, ModelCatalog},
    chat::TokenUsage,
};

/// Largest number of changes of one transaction.
const MAX_CHANGES_PER_COMMIT: usize = 64;
/// Largest number of changes that wait for a transaction.
const MAX_WAITING_CHANGES: usize = 10_000;
/// The limit of a plan of what calls cost in a calendar month, in cents of a US dollar.
const AI_COST_CENTS: &str = "ai_cost_cents";
/// Pico-USD in a cent.
const PICO_PER_CENT: i64 = 10_000_000_000;
/// The time after its time limit at which an open call is lost.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// The accounts of calls to language models: the ledger of calls, and the budgets. It is in the
/// [`Context`](omnistack_core::module::Context) of an app with the module `Ai`. Cheap to clone.
///
/// A call reserves what it can use at most in all budgets that apply, before a model is asked, and is settled when it
/// ends. Limits hold exactly, in all processes together.
///
/// ```
/// use omnistack_ai::{Accounting, AiCaller, CallOutcome, CallStart, CallStatus, TokenUsage};
/// use omnistack_core::{http::Error, identity::TenantId};
///
/// /// Counts a call of a model that the app has made without the gateway.
/// async fn count(accounting: &Accounting, tenant: TenantId) -> Result<(), Error> {
///     let start = CallStart::new(AiCaller::of_tenant(tenant), "my-model").reserve(100, 500, None);
///     let mut call = accounting.open(start).await?;
///     call.note_target("my-provider", "my-model");
///     // … ask the model; if this fails or is dropped, the call is cancelled …
///     let usage = TokenUsage { input: 90, output: 321, ..TokenUsage::default() };
///     call.settle(CallOutcome::new(CallStatus::Succeeded, "my-provider", "my-model").usage(usage)).await?;
///     Ok(())
/// }
/// # let _ = count;
/// ```
#[derive(Clone)]
pub struct Accounting(Arc<AccountingInner>);

struct AccountingInner {
    parts: AccountingParts,
    commits: GroupCommit<LedgerOperation, LedgerAnswer>,
    pending: PendingSettlements,
    /// The tasks that settle calls.
    settling: TaskTracker,
}

/// The dependencies of the accounts.
pub(super) struct AccountingParts {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) entitlements: Entitlements,
    pub(super) usage: UsageSink,
    pub(super) events: Events,
    pub(super) catalog: ModelCatalog,
    /// The wallets, if calls are paid with credits.
    pub(super) credits: Option<CreditAccounts>,
    pub(super) settings: AiAccountingSettings,
}

impl Accounting {
    pub(super) fn new(parts: AccountingParts) -> Self {
        // A wallet that refuses a call rolls its transaction back, which must not have others.
        let batch = if parts.credits.is_some() { 1 } else { MAX_CHANGES_PER_COMMIT };
        let commits = GroupCommit::new(batch).max_waiting(MAX_WAITING_CHANGES);
        let (pending, settling) = (PendingSettlements::default(), TaskTracker::new());
        Self(Arc::new(AccountingInner { parts, commits, pending, settling }))
    }

    /// Begins a call: reserves its tokens, its cost and one request in the limits `ai_tokens`, `ai_requests` and
    /// `ai_cost_cents` of the plan, and in the budgets of the tenant, the user and the API key. Together with all that
    /// is used and reserved, in any process, it is never more than a hard limit. Without any limit, the call is only
    /// stored.
    ///
    /// If this is dropped, a call that was begun is cancelled.
    ///
    /// # Errors
    /// 402 `AI_BUDGET_EXCEEDED` with the details `scope`, `budget`, `period`, `unit`, `limit`, `used`, `reserved`,
    /// `needed` and `resets_at`; 402 `CREDITS_EXHAUSTED` if the tenant pays with credits and has too few; 422
    /// `MODEL_PRICE_UNKNOWN` if it pays with credits and the cost is not known; 503 if the database is unavailable, or
    /// too many calls wait for it.
    pub async fn open(&self, start: CallStart) -> Result<OpenCall, Error> {
        if self.credits().is_some() && start.reserved_cost.is_none() {
            return Err(no_price(&start.asked_model));
        }
        let plan = self.0.parts.entitlements.plan(start.caller.tenant).await?;
        let new = self.new_call(start, &plan);
        match self.submit(LedgerOperation::Open(Box::new(new))).await? {
            LedgerAnswer::Opened(opened) => opened.map(|call| *call),
            LedgerAnswer::Settled(_) => Err(Error::internal("the ledger has answered another change")),
        }
    }

    fn new_call(&self, start: CallStart, plan: &Plan) -> NewCall {
        let CallStart {
            caller,
            asked_model,
            estimated_input,
            reserved_output,
            reserved_repair,
            reserved_cost,
            prompt,
            variant,
            purpose,
            total_timeout,
        } = start;
        let reserved_cost = reserved_cost.map(|cost| cost.max(Cost::ZERO));
        let started_at = self.clock().now();
        NewCall {
            id: Id::new(started_at),
            held: HeldCall {
                caller,
                asked_model: stored_name(&asked_model),
                started_at,
                began: self.clock().elapsed(),
                estimated_input,
                reserved_output,
                reserved_repair,
                reserved_cost,
                variant: variant.as_deref().map(stored_name),
            },
            expires_at: started_at + total_timeout + LOST_AFTER,
            prompt: prompt.as_deref().map(stored_name),
            purpose,
            plan: plan_limits(plan),
            credits: if self.credits().is_some() { self.credits_of(reserved_cost) } else { 0 },
        }
    }

    /// Stores the end of a call. It is in the queue after the first poll.
    pub(super) async fn settle(&self, settlement: CallSettlement) -> Result<(), Error> {
        let kept = settlement.clone();
        match self.submit(LedgerOperation::Settle(Box::new(settlement))).await {
            Ok(LedgerAnswer::Settled(settled)) => settled,
            Ok(LedgerAnswer::Opened(_)) => Err(Error::internal("the ledger has answered another change")),
            Err(error) => {
                // The ledger has not taken it, or has lost it by a panic. A second settlement changes nothing.
                self.settle_later(kept);
                Err(error)
            }
        }
    }

    async fn submit(&self, operation: LedgerOperation) -> Result<LedgerAnswer, Error> {
        let this = self.clone();
        let answer = self.0.commits.submit(operation, 1, move |batch| this.clone().store(batch)).await;
        answer.map_err(|error| match error {
            GroupCommitError::Full => {
                Error::unavailable("AI_LEDGER_BUSY", "too many calls wait to be stored; try again")
            }
            error => Error::internal(error),
        })
    }

    /// Returns the cost of tokens. Returns `None` if the price of the model is not known.
    pub(super) fn price(
        &self,
        provider: &str,
        model: &str,
        usage: &TokenUsage,
        service_tier: Option<&str>,
    ) -> Option<Cost> {
        self.0.parts.catalog.find(provider, model)?.prices.as_ref()?.cost(usage, service_tier)
    }

    /// Returns the millionths of credits of a cost, rounded up. An unknown cost is none.
    pub(super) fn credits_of(&self, cost: Option<Cost>) -> i64 {
        credits_of(cost.map_or(0, Cost::pico), self.settings().credits_per_usd)
    }

    /// Returns the wallets, if calls are paid with credits.
    pub(super) fn credits(&self) -> Option<&CreditAccounts> {
        self.0.parts.credits.as_ref()
    }

    pub(super) fn pending(&self) -> &PendingSettlements {
        &self.0.pending
    }

    pub(super) fn settling(&self) -> &TaskTracker {
        &self.0.settling
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.parts.db
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    pub(super) fn usage(&self) -> &UsageSink {
        &self.0.parts.usage
    }

    pub(super) fn events(&self) -> &Events {
        &self.0.parts.events
    }

    pub(super) fn settings(&self) -> &AiAccountingSettings {
        &self.0.parts.settings
    }
}

impl fmt::Debug for Accounting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounting")
    }
}

/// Returns the limits of calls in a plan.
fn plan_limits(plan: &Plan) -> Option<BudgetLimits> {
    let limit = |name: &str| plan.limits.get(name).map(|limit| i64::try_from(*limit).unwrap_or(i64::MAX));
    let (tokens, requests) = (limit(meters::AI_TOKENS), limit(meters::AI_REQUESTS));
    let pico = limit(AI_COST_CENTS).map(|cents| cents.saturating_mul(PICO_PER_CENT));
    let has_limit = tokens.is_some() || requests.is_some() || pico.is_some();
    has_limit.then_some(BudgetLimits { tokens, requests, pico, is_hard: true, ..BudgetLimits::default() })
}

/// Returns the error of a call that is paid with credits, and whose cost is not known: it would be free.
fn no_price(asked_model: &str) -> Error {
    let message = "the price of the model is not known, and calls are paid with credits; ask for another model, or let \
        the operator of the app add its price to AI_MODELS_FILE";
    let error = Error::new(StatusCode::UNPROCESSABLE_ENTITY, "MODEL_PRICE_UNKNOWN", message);
    error.with_detail("model", stored_name(asked_model))
}

/// Returns the millionths of credits of pico-USD, rounded up.
fn credits_of(pico: i64, credits_per_usd: u32) -> i64 {
    // A US dollar is 10^12 pico-USD, and a credit is 10^6 millionths.
    let product = i128::from(pico.max(0)) * i128::from(credits_per_usd);
    i64::try_from(product.div_euclid(1_000_000) + i128::from(product % 1_000_000 != 0)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_rounded_up() {
        for (pico, per_usd, millionths) in [
            (0, 100, 0),
            (1, 100, 1),
            // A cent is one credit.
            (10_000_000_000, 100, 1_000_000),
            (10_000_000_001, 100, 1_000_001),
            (54_000_000, 1, 54),
            (-5, 100, 0),
            (i64::MAX, 1_000_000, i64::MAX),
        ] {
            assert_eq!(credits_of(pico, per_usd), millionths, "{pico} {per_usd}");
        }
    }

    #[test]
    fn a_plan_limits_what_it_names() {
        assert_eq!(plan_limits(&Plan::new("free").limit("projects", 3)), None);
        let limits = plan_limits(&Plan::new("free").limit(meters::AI_TOKENS, u64::MAX)).unwrap();
        assert_eq!((limits.tokens, limits.requests, limits.is_hard), (Some(i64::MAX), None, true));
        let limits = plan_limits(&Plan::new("free").limit(AI_COST_CENTS, 250)).unwrap();
        assert_eq!((limits.tokens, limits.pico), (None, Some(2_500_000_000_000)));
    }
}
