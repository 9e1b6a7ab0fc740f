//! Reports of usage, for tenants and for operators.
//!
//! They read what the ledger has added up in windows and dimensions, never its events, so the time of a report does not
//! depend on the number of events. A tenant's reports are made in transactions of that tenant; those of operators,
//! about a user or about all tenants, in transactions that access all.

mod admin;
mod billing_usage;
mod breakdown;
mod current;
mod dimensions;
mod live;
mod numbers;
mod queries;
mod range;
mod routes;
mod series;
mod stats;
mod store;
mod summary;
mod totals;
mod users;

use omnistack_core::{
    clock::Timestamp,
    db::Db,
    http::{Error, FieldError},
    identity::{Authenticator, LimitedResources},
    jobs::Cron,
    module::{Context, MissingDependency, Mount, Registry},
    usage::meters,
};

use crate::{
    ledger::Ledger,
    meter::{Meter, MeterSet},
};
use live::LiveUsage;
use numbers::adds_up;
use totals::{AddUpUsageTotals, RECENT_DAYS};

/// The reports of usage. Cheap to clone.
#[derive(Clone)]
struct UsageReports {
    ledger: Ledger,
    resources: LimitedResources,
}

impl UsageReports {
    fn meters(&self) -> &MeterSet {
        self.ledger.meters()
    }

    /// Returns the meters that add up.
    fn meters_that_add_up(&self) -> Vec<&Meter> {
        self.meters().iter().filter(|meter| adds_up(meter)).collect()
    }

    /// Returns the meter with a name that the caller has sent; `api_requests` by default.
    fn meter(&self, name: Option<&str>) -> Result<&Meter, Error> {
        let meter = self.meters().get(name.unwrap_or(meters::API_REQUESTS));
        meter.ok_or_else(|| {
            let message = "must be the name of a meter; `GET /api/v1/app/usage/metrics` lists them";
            Error::invalid([FieldError::new("meter", message)])
        })
    }

    /// Returns the meter with a name that the caller has sent, which adds up.
    fn meter_that_adds_up(&self, name: Option<&str>) -> Result<&Meter, Error> {
        let meter = self.meter(name)?;
        if adds_up(meter) {
            return Ok(meter);
        }
        let message = format!(
            "must be a meter with the aggregation `sum` or `count`: parts of a `{}` don't add up",
            meter.aggregation().as_str()
        );
        Err(Error::invalid([FieldError::new("meter", message)]))
    }

    fn db(&self) -> &Db {
        self.ledger.db()
    }

    fn now(&self) -> Timestamp {
        self.ledger.clock().now()
    }
}

/// Registers the reports: their routes, which exist if the app authenticates callers, the job that adds up the usage of
/// all tenants, and the messages to connected clients.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .job::<AddUpUsageTotals>(reports)
        .cron(Cron::new("*/5 * * * *", AddUpUsageTotals { days: Some(RECENT_DAYS) }))
        .cron(Cron::new("52 2 * * *", AddUpUsageTotals { days: None }))
        .background_service("live usage", |ctx| {
            let live = LiveUsage { reports: reports(ctx)?, realtime: ctx.get()? };
            Ok(move |shutdown| {
                let live = live.clone();
                async move { live.run(shutdown).await }
            })
        })
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            let usage = Mount::app("/usage").permissions("usage").without_plan_limits();
            let billing = Mount::app("/billing").permissions("billing").without_plan_limits();
            registry.routes(usage, routes::usage(), reports).routes(billing, routes::billing(), reports).routes(
                Mount::admin("/usage"),
                admin::api(),
                reports,
            );
        });
}

fn reports(ctx: &Context) -> Result<UsageReports, MissingDependency> {
    Ok(UsageReports { ledger: ctx.get()?, resources: ctx.get()? })
}
