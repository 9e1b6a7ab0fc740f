//! Payments: taken at one of several providers, at most once.
//!
//! A payment has attempts, each of which asks one provider. The [state machine](machine) says when another attempt may
//! begin: only after it is certain that no earlier one has taken money. [`PaymentLedger`] stores an attempt
//! [before it asks](create), and the result [afterwards](apply), with the entries of the double-entry
//! [ledger](postings) and the [counters](statistics) of reports in the same transaction. What is not known is
//! [asked for](resolve), by a job, after events, and on demand.
//!
//! All changes of a payment lock its row first, so they happen one after another. No transaction is open while a
//! provider is asked.

mod apply;
mod attempt_row;
mod attempts;
mod change;
mod chargeback;
mod create;
mod dispute;
mod dispute_rows;
mod dispute_searches;
mod export;
mod failure;
mod find_disputes;
mod handle;
mod machine;
mod model;
mod postings;
mod readable;
mod refund;
mod refund_row;
mod request_limits;
mod resolve;
mod routes;
mod rows;
mod statistics;
mod store;
mod webhooks;

use std::time::Duration;

use omnistack_core::{
    db::Db,
    identity::{AccessLevel, Authenticator},
    jobs::Cron,
    module::{Mount, Registry},
};

pub use handle::PaymentLedger;
pub use machine::{AttemptState, DisputeState, PaymentState, RefundState};
pub use model::{
    MinorAmount, Payment, PaymentAttempt, PaymentDispute, PaymentDisputeId, PaymentFailure, PaymentId, PaymentRefund,
    PaymentRefundId, PaymentRequest, PaymentRetry, ProviderChange, RefundProposal, RefundRequest,
};
pub(crate) use rows::read_name;
pub(crate) use statistics::{day_of, no_api_key};

use find_disputes::FindDisputes;
use handle::LedgerParts;
use resolve::{ResolvePayments, UpdatePayments};
use webhooks::{PublishAccountEvents, PublishProviderEvents};

/// Name of the subscriber that updates payments after events of providers.
const UPDATE_PAYMENTS: &str = "payments.update_payments";
/// Timeout of requests: longer than several providers may take one after another.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// A service whose webhooks are handled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceSources {
    /// The name of the service, and of the source of the app's own account.
    pub(crate) service: &'static str,
    /// The name of the source of tenants' own accounts.
    pub(crate) accounts: Option<&'static str>,
}

/// Registers payments, their job, and the handlers for the webhooks of these services. The routes exist if the app
/// authenticates callers.
pub(crate) fn register(registry: &mut Registry, services: Vec<ServiceSources>) {
    let clock = registry.clock();
    registry
        .tenant_tables([
            "omni_payment_entries",
            "omni_payment_disputes",
            "omni_dispute_searches",
            "omni_payment_refunds",
            "omni_payment_attempts",
            "omni_payments",
            "omni_payment_days",
            "omni_payment_volumes",
        ])
        .provide_from(move |ctx| {
            Ok(PaymentLedger::new(LedgerParts {
                // Payments are in the app's database, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                accounts: ctx.get()?,
                router: ctx.get()?,
            }))
        })
        .subscribe(UPDATE_PAYMENTS, |ctx| Ok(UpdatePayments(ctx.get()?)))
        .job::<ResolvePayments>(|ctx| ctx.get::<PaymentLedger>())
        .cron(Cron::new("* * * * *", ResolvePayments {}))
        .job::<FindDisputes>(|ctx| ctx.get::<PaymentLedger>())
        .cron(Cron::new("41 4 * * *", FindDisputes {}))
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            let guarded =
                |mount: Mount| mount.permissions("payments").require_idempotency_key().timeout(REQUEST_TIMEOUT);
            let machine = |path: &str| Mount::root(path, AccessLevel::Machine);
            registry
                .routes(guarded(Mount::app("/payments")), routes::api(), |ctx| ctx.get::<PaymentLedger>())
                .routes(guarded(machine("/v1/payments").operation_prefix("machine")), routes::api(), |ctx| {
                    ctx.get::<PaymentLedger>()
                })
                .routes(
                    guarded(machine("/v2/payments").operation_prefix("machine_v2")),
                    routes::api().enveloped(),
                    |ctx| ctx.get::<PaymentLedger>(),
                );
        });
    export::register(registry);
    for ServiceSources { service, accounts } in services {
        registry.webhook_handler(service, "*", |ctx| {
            Ok(PublishProviderEvents { providers: ctx.get()?, accounts: ctx.get()?, events: ctx.get()? })
        });
        if let Some(source) = accounts {
            registry.webhook_handler(source, "*", move |ctx| {
                Ok(PublishAccountEvents { service, accounts: ctx.get()?, events: ctx.get()? })
            });
        }
    }
}
