//! The module [`Billing`].

use std::{fmt, fs, sync::Arc};

use async_trait::async_trait;
use omnistack_core::{
    BoxError,
    http::RateLimits,
    migrations,
    module::{Context, MissingDependency, Module, Registry, Slot},
};

use crate::{
    account::{self, BillingAccounts},
    app_store, export,
    invoice::{self, InvoiceSettings, UsagePrice},
    invoice_document,
    ledger::{self, Ledger},
    meter::{Meter, MeterSet},
    meter_report,
    plan::PlanCatalogue,
    quota::{self, Quotas},
    report,
    requests::{RequestUsageLayer, RequestUsageParts},
    revenue,
    settings::{BillingSettings, UsageSettings},
    subscription,
    tax::{TaxProvider, TaxTable},
    wallet::{self, TopUp},
};

/// The module of plans, entitlements, usage and credits: `.with(Billing::from_env().plans(plans))`. See the
/// [crate's documentation](crate).
#[doc(alias = "subscription")]
#[derive(Clone, Default)]
#[must_use]
pub struct Billing {
    plans: Option<PlanCatalogue>,
    meters: Vec<Meter>,
    top_up: Option<Arc<dyn TopUp>>,
    usage_prices: Vec<UsagePrice>,
    taxes: Option<Arc<dyn TaxProvider>>,
}

impl Billing {
    /// Creates the module with the plans of the file `BILLING_PLANS_FILE`. Without one and without
    /// [`plans`](Self::plans), every tenant has the plan `free` with every feature and no limits.
    pub fn from_env() -> Self {
        Self::default()
    }

    /// Sets the plans. `BILLING_PLANS_FILE` replaces them.
    pub fn plans(mut self, plans: PlanCatalogue) -> Self {
        self.plans = Some(plans);
        self
    }

    /// Adds a meter. It replaces the built-in meter of the same name.
    pub fn meter(mut self, meter: Meter) -> Self {
        self.meters.push(meter);
        self
    }

    /// Sets what charges a tenant whose credits are low, for wallets with an automatic top-up.
    pub fn auto_top_up(mut self, top_up: impl TopUp) -> Self {
        self.top_up = Some(Arc::new(top_up));
        self
    }

    /// Sets the price of the units of a meter, for invoices of usage.
    pub fn usage_price(mut self, price: UsagePrice) -> Self {
        self.usage_prices.push(price);
        self
    }

    /// Sets the taxes of invoices, in place of the built-in [`TaxTable`].
    pub fn taxes(mut self, taxes: impl TaxProvider) -> Self {
        self.taxes = Some(Arc::new(taxes));
        self
    }

    /// Returns the plans of the file or of the code. Reports their problems, and returns `None` if there are any.
    fn catalogue(&self, settings: &BillingSettings, registry: &mut Registry) -> Option<PlanCatalogue> {
        let (catalogue, place) = match &settings.plans_file {
            None => (self.plans.clone().unwrap_or_default(), "the call of `Billing::plans`".to_owned()),
            Some(path) => {
                let place = format!("the file {}", path.display());
                let text = match fs::read_to_string(path) {
                    Ok(text) => text,
                    Err(error) => {
                        let what = format!("{place} can't be read: {error}");
                        registry.report_problem(what, "set BILLING_PLANS_FILE to a file with plans, or unset it");
                        return None;
                    }
                };
                match PlanCatalogue::from_toml(&text) {
                    Ok(catalogue) => (catalogue, place),
                    Err(error) => {
                        for problem in error.problems() {
                            registry.report_problem(problem.clone(), format!("correct {place}"));
                        }
                        return None;
                    }
                }
            }
        };
        let problems = catalogue.problems();
        for problem in &problems {
            registry.report_problem(problem.clone(), format!("correct {place}"));
        }
        problems.is_empty().then_some(catalogue)
    }

    /// Returns the meters. Reports the problems of those of the app.
    fn meter_set(&self, registry: &mut Registry) -> MeterSet {
        let (meters, problems) = MeterSet::new(&self.meters);
        for (name, problem) in problems {
            registry.report_problem(format!("the meter `{name}`: {problem}"), "correct the call of `Billing::meter`");
        }
        meters
    }
}

#[async_trait]
impl Module for Billing {
    fn name(&self) -> &'static str {
        "billing"
    }

    fn register(&self, registry: &mut Registry) {
        registry.migrations(migrations![
            "0001_plans",
            "0002_usage",
            "0003_quotas",
            "0004_wallets",
            "0005_subscriptions",
            "0006_invoices",
            "0007_app_stores",
            "0008_meter_reports",
        ]);
        let Some(settings) = registry.config::<BillingSettings>() else { return };
        let Some(usage) = registry.config::<UsageSettings>() else { return };
        let Some(catalogue) = self.catalogue(&settings, registry) else { return };
        let meters = self.meter_set(registry);
        let counts_requests = usage.count_requests;
        account::register(registry, catalogue, settings.zone.0);
        meter_report::register(registry, &meters);
        ledger::register(registry, meters.clone(), usage);
        quota::register(registry);
        report::register(registry);
        wallet::register(registry, self.top_up.clone());
        let Some(invoices) = registry.config::<InvoiceSettings>() else { return };
        let taxes = self.taxes.clone().unwrap_or_else(|| Arc::new(TaxTable::default()));
        invoice::register(registry, invoices, &meters, self.usage_prices.clone(), taxes);
        invoice_document::register(registry);
        subscription::register(registry);
        app_store::register(registry);
        revenue::register(registry);
        export::register(registry);
        if counts_requests {
            registry.layer(Slot::Tenant, request_usage);
        }
    }

    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        ctx.get::<BillingAccounts>()?.start().await?;
        ctx.get::<Ledger>()?.start().await
    }

    /// Stores what is counted in memory, and releases what this process holds of limits.
    async fn stop(&self, ctx: &Context) {
        let (Ok(ledger), Ok(quotas)) = (ctx.get::<Ledger>(), ctx.get::<Quotas>()) else { return };
        if let Err(error) = ledger.flush().await {
            tracing::warn!(target: "omnistack::usage", %error, "usage counters could not be stored at the shutdown");
        }
        quotas.stop().await;
    }
}

fn request_usage(ctx: &Context) -> Result<RequestUsageLayer, MissingDependency> {
    Ok(RequestUsageLayer::new(RequestUsageParts {
        ledger: ctx.get()?,
        quotas: ctx.get()?,
        accounts: ctx.get()?,
        limits: ctx.get::<RateLimits>()?,
        open: ctx.get()?,
        clock: ctx.get()?,
    }))
}

impl fmt::Debug for Billing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Billing");
        shown.field("plans", &self.plans).field("meters", &self.meters).field("top_up", &self.top_up.is_some());
        shown.field("usage_prices", &self.usage_prices).field("taxes", &self.taxes.is_some());
        shown.finish()
    }
}
