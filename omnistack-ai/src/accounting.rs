//! Accounts of calls: the ledger, budgets, and credits.
//!
//! Each call has a row in the ledger from its start on. The start reserves what the call can use at most in the budgets
//! that apply, and the end replaces the reservation by what was used, in one transaction with the usage events and the
//! credits. A call that is dropped is settled in the background with what has arrived, and a call whose process has
//! ended expires: nothing stays reserved.

mod budget;
mod budgets;
mod call;
mod commit;
mod expiry;
mod handle;
mod open_call;
mod operation;
mod pending;
mod period;
mod settings;
mod store;
mod threshold;
mod use_store;

pub use budget::{AiBudgetMarker, BudgetId, BudgetScope};
pub(crate) use budgets::{AiBudget, BudgetFilter, BudgetOwner, BudgetValues};
pub use call::{CallOutcome, CallStart, CallStatus};
pub use handle::Accounting;
pub use open_call::OpenCall;
pub use period::BudgetPeriod;
pub(crate) use period::first_id;
pub use threshold::AiBudgetThresholdReached;
pub(crate) use use_store::whole_sum;

use omnistack_core::{credits::CreditAccounts, db::Db, jobs::Cron, module::Registry};

use self::{
    expiry::{PurgeCalls, SettleExpiredCalls},
    handle::AccountingParts,
    settings::AiAccountingSettings,
};
use crate::catalog::ModelCatalog;

/// Registers the accounts and their background work. The module must call [`Accounting::stop`] when it stops.
pub(crate) fn register(registry: &mut Registry, catalog: ModelCatalog) {
    let Some(settings) = registry.config::<AiAccountingSettings>() else { return };
    if settings.charge_credits {
        registry.require_with_message::<CreditAccounts>(
            "AI_CHARGE_CREDITS is set, and the app has no wallets",
            "add the module of the feature `billing`, `.with(Billing::from_env())`, or unset AI_CHARGE_CREDITS",
        );
    }
    let clock = registry.clock();
    registry
        .tenant_tables(["omni_ai_budget_uses", "omni_ai_budgets", "omni_ai_calls"])
        .provide_from(move |ctx| {
            Ok(Accounting::new(AccountingParts {
                // Calls are the app's, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                entitlements: ctx.get()?,
                usage: ctx.get()?,
                events: ctx.get()?,
                catalog: catalog.clone(),
                credits: if settings.charge_credits { Some(ctx.get::<CreditAccounts>()?) } else { None },
                settings: settings.clone(),
            }))
        })
        .background_service("ai-accounting", |ctx| {
            let accounting = ctx.get::<Accounting>()?;
            Ok(move |shutdown| {
                let accounting = accounting.clone();
                async move { accounting.run(shutdown).await }
            })
        })
        .job::<SettleExpiredCalls>(|ctx| ctx.get::<Accounting>())
        .cron(Cron::new("* * * * *", SettleExpiredCalls {}))
        .job::<PurgeCalls>(|ctx| ctx.get::<Accounting>())
        .cron(Cron::new("47 3 * * *", PurgeCalls {}))
        .forward_to_webhooks::<AiBudgetThresholdReached>("ai-budget-threshold-reached");
}
