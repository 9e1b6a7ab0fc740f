//! The module [`Payments`].

use std::sync::Arc;

use omnistack_core::{
    migrations,
    module::{Module, Registry},
    payment::PaymentProvider,
};

#[cfg(feature = "paypal")]
use crate::paypal::PayPalService;
#[cfg(feature = "razorpay")]
use crate::razorpay::RazorpayService;
#[cfg(feature = "stripe")]
use crate::stripe::StripeService;
use crate::{
    analytics, credentials,
    fake::{self, FakeService},
    payment::{self, ServiceSources},
    router,
    service::PaymentService,
    settings::{self, FAKE_SERVICE, PaymentConfig},
};

/// The module of payments: `.with(Payments::from_env())`. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Payments {
    services: Vec<Arc<dyn PaymentService>>,
    fakes: Vec<&'static str>,
}

impl Payments {
    /// Creates the module with the services of the crate's features and the built-in fake. The app's own accounts are
    /// those in its settings.
    pub fn from_env() -> Self {
        Self::default()
    }

    /// Adds a service. It replaces a service of the features with the same name.
    pub fn service(mut self, service: impl PaymentService) -> Self {
        self.services.push(Arc::new(service));
        self
    }

    /// Adds another fake service with a state of its own, to test the choice between services.
    pub fn fake_service(mut self, name: &'static str) -> Self {
        self.fakes.push(name);
        self
    }

    /// Returns all services, each name once. Reports a name that is used twice.
    fn all_services(
        &self,
        registry: &mut Registry,
        config: &PaymentConfig,
        fakes: Vec<Arc<dyn PaymentService>>,
    ) -> Vec<Arc<dyn PaymentService>> {
        let mut services = self.services.clone();
        let own: Vec<&str> = services.iter().map(|service| service.name()).collect();
        let of_features = provider_services(registry, config);
        let others = fakes.into_iter().chain(of_features).filter(|service| !own.contains(&service.name()));
        let others: Vec<_> = others.collect();
        services.extend(others);
        let mut names: Vec<&str> = services.iter().map(|service| service.name()).collect();
        names.sort_unstable();
        for twice in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            let what = format!("the payment service `{}` is added twice", twice[0]);
            registry.report_problem(what, "give one of them another name");
        }
        services
    }
}

impl Module for Payments {
    fn name(&self) -> &'static str {
        "payments"
    }

    fn register(&self, registry: &mut Registry) {
        registry.migrations(migrations!["0001_fake", "0002_credentials", "0003_routes", "0004_payments"]);
        let Some(config) = PaymentConfig::read(registry) else { return };
        let names: Vec<&'static str> = std::iter::once(FAKE_SERVICE).chain(self.fakes.iter().copied()).collect();
        let Some(bank) = fake::register(registry, &names) else { return };
        let fakes = names
            .iter()
            .copied()
            .map(|name| -> Arc<dyn PaymentService> { Arc::new(FakeService::named(bank.clone(), name)) });
        let services = self.all_services(registry, &config, fakes.collect());

        let providers = settings::app_providers(registry, &config, &services);
        for provider in providers.iter().filter(|provider| provider.name() != FAKE_SERVICE) {
            check_service(registry, Arc::clone(provider));
        }
        registry.provide(providers);
        let sources = services
            .iter()
            .map(|service| ServiceSources { service: service.name(), accounts: service.account_source() })
            .collect();
        credentials::register(registry, services);
        router::register(registry, &config.payments);
        payment::register(registry, sources);
        analytics::register(registry);
    }
}

/// Adds a check of one of the app's accounts.
fn check_service(registry: &mut Registry, provider: Arc<dyn PaymentProvider>) {
    registry.service_check(provider.name(), move |_| {
        Ok(move || {
            let provider = Arc::clone(&provider);
            async move { Ok(provider.check().await?) }
        })
    });
}

/// Returns the services of the crate's features. Reports URLs that are not accepted.
#[cfg(any(feature = "paypal", feature = "razorpay", feature = "stripe"))]
fn provider_services(registry: &mut Registry, config: &PaymentConfig) -> Vec<Arc<dyn PaymentService>> {
    let Some(client) = registry.settings_client() else { return Vec::new() };
    let mut services: Vec<Arc<dyn PaymentService>> = Vec::new();
    #[cfg(feature = "stripe")]
    match StripeService::new(client.clone(), &config.stripe.api_url) {
        Ok(service) => services.push(Arc::new(service)),
        Err(error) => report_url(registry, "STRIPE_API_URL", &error),
    }
    #[cfg(feature = "paypal")]
    {
        let service = PayPalService::new(client.clone(), registry.clock());
        let service = match &config.paypal.api_url {
            Some(url) => service.api_url(url),
            None => Ok(service),
        };
        match service {
            Ok(service) => services.push(Arc::new(service)),
            Err(error) => report_url(registry, "PAYPAL_API_URL", &error),
        }
    }
    #[cfg(feature = "razorpay")]
    match RazorpayService::new(client.clone(), registry.clock()).api_url(&config.razorpay.api_url) {
        Ok(service) => services.push(Arc::new(service)),
        Err(error) => report_url(registry, "RAZORPAY_API_URL", &error),
    }
    services
}

#[cfg(not(any(feature = "paypal", feature = "razorpay", feature = "stripe")))]
fn provider_services(_: &mut Registry, _: &PaymentConfig) -> Vec<Arc<dyn PaymentService>> {
    Vec::new()
}

#[cfg(any(feature = "paypal", feature = "razorpay", feature = "stripe"))]
fn report_url(registry: &mut Registry, setting: &str, error: &omnistack_core::BoxError) {
    registry.report_problem(format!("{setting} is not accepted: {error}"), format!("correct {setting}, or unset it"));
}
