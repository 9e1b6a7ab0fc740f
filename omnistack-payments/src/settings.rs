//! The settings, and the app's own accounts at payment services.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use omnistack_core::{
    data_environment::DataEnvironment,
    module::Registry,
    payment::{PaymentProvider, PaymentProviders},
};
#[cfg(any(feature = "razorpay", feature = "stripe"))]
use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use crate::service::{Credentials, PaymentService};

/// The name of the built-in service, which moves no money.
pub(crate) const FAKE_SERVICE: &str = "fake";

omnistack_core::settings! {
    /// Payments.
    pub(crate) struct PaymentSettings {
        /// The service through which the customers of this app pay: `stripe`, `paypal`, `razorpay` or `fake`. Default:
        /// the first of them with credentials in the settings. Without any, payments are made by `fake`, which moves no
        /// money; in production it must be named here.
        pub(crate) provider: Option<String> = "PAYMENTS_PROVIDER";
        /// The time over which the success rate of an account is measured.
        pub(crate) health_window: Duration = "PAYMENTS_HEALTH_WINDOW", default "5m", range "10s"..="1h";
        /// The number of consecutive calls without a conclusive response after which payments avoid an account.
        pub(crate) breaker_failures: u32 = "PAYMENTS_BREAKER_FAILURES", default "5", range "1"..="1000";
        /// The time for which payments avoid such an account.
        pub(crate) breaker_cooldown: Duration = "PAYMENTS_BREAKER_COOLDOWN", default "30s", range "1s"..="1h";
    }
}

omnistack_core::settings! {
    feature "stripe" of "omnistack";
    /// Payments by Stripe.
    pub(crate) struct StripeSettings {
        /// The secret key of the app's account, `sk_…` or `rk_…`. The key says whether it is for tests.
        pub(crate) api_key: Option<SecretString> = "STRIPE_API_KEY";
        /// The base URL of Stripe's API.
        pub(crate) api_url: String = "STRIPE_API_URL", default "https://api.stripe.com";
    }
}

/// The environment of the app's account at PayPal, whose credentials don't say it.
#[cfg(feature = "paypal")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PayPalEnvironment(pub(crate) DataEnvironment);

#[cfg(feature = "paypal")]
impl omnistack_core::config::SettingValue for PayPalEnvironment {
    const EXPECTED: &'static str = "live or test";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{text}` is neither live nor test"))
    }
}

omnistack_core::settings! {
    feature "paypal" of "omnistack";
    /// Payments by PayPal.
    pub(crate) struct PayPalSettings {
        /// The client id of the app's account.
        pub(crate) client_id: Option<String> = "PAYPAL_CLIENT_ID";
        /// The secret of the client.
        pub(crate) client_secret: Option<SecretString> = "PAYPAL_CLIENT_SECRET";
        /// The environment of the app's account: `live`, or `test` for the sandbox.
        pub(crate) environment: PayPalEnvironment = "PAYPAL_ENVIRONMENT", default "live";
        /// The base URL of PayPal's API, for accounts of both environments. Default: that of the environment of each
        /// account.
        pub(crate) api_url: Option<String> = "PAYPAL_API_URL";
    }
}

omnistack_core::settings! {
    feature "razorpay" of "omnistack";
    /// Payments by Razorpay.
    pub(crate) struct RazorpaySettings {
        /// The id of the key of the app's account, `rzp_…`. It says whether the key is for tests.
        pub(crate) key_id: Option<String> = "RAZORPAY_KEY_ID";
        /// The secret of the key.
        pub(crate) key_secret: Option<SecretString> = "RAZORPAY_KEY_SECRET";
        /// The base URL of Razorpay's API.
        pub(crate) api_url: String = "RAZORPAY_API_URL", default "https://api.razorpay.com";
    }
}

/// All settings of the crate.
#[derive(Clone, Debug)]
pub(crate) struct PaymentConfig {
    pub(crate) payments: PaymentSettings,
    #[cfg(feature = "stripe")]
    pub(crate) stripe: StripeSettings,
    #[cfg(feature = "paypal")]
    pub(crate) paypal: PayPalSettings,
    #[cfg(feature = "razorpay")]
    pub(crate) razorpay: RazorpaySettings,
}

impl PaymentConfig {
    /// Reads the settings. Returns `None` if one is invalid; the registry reports it.
    pub(crate) fn read(registry: &mut Registry) -> Option<Self> {
        // Each section is read, so that the problems of all are reported.
        let payments = registry.config::<PaymentSettings>();
        #[cfg(feature = "stripe")]
        let stripe = registry.config::<StripeSettings>();
        #[cfg(feature = "paypal")]
        let paypal = registry.config::<PayPalSettings>();
        #[cfg(feature = "razorpay")]
        let razorpay = registry.config::<RazorpaySettings>();
        report_missing_features(registry);
        Some(Self {
            payments: payments?,
            #[cfg(feature = "stripe")]
            stripe: stripe?,
            #[cfg(feature = "paypal")]
            paypal: paypal?,
            #[cfg(feature = "razorpay")]
            razorpay: razorpay?,
        })
    }
}

/// Reports settings of services that are not compiled in.
fn report_missing_features(registry: &mut Registry) {
    #[cfg(not(feature = "stripe"))]
    registry.config::<StripeSettings>();
    #[cfg(not(feature = "paypal"))]
    registry.config::<PayPalSettings>();
    #[cfg(not(feature = "razorpay"))]
    registry.config::<RazorpaySettings>();
    #[cfg(all(feature = "stripe", feature = "paypal", feature = "razorpay"))]
    let _ = registry;
}

/// The credentials of an account of the app in the settings.
struct AppAccount {
    service: &'static str,
    environment: DataEnvironment,
    credentials: Credentials,
}

impl AppAccount {
    fn new(
        service: &'static str,
        environment: DataEnvironment,
        fields: impl IntoIterator<Item = (&'static str, SecretString)>,
    ) -> Self {
        let fields: BTreeMap<String, SecretString> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { service, environment, credentials: Credentials(fields) }
    }
}

/// Creates the app's own accounts at payment services. The first one is that of `PAYMENTS_PROVIDER`. Reports a name
/// without a service or without credentials, credentials that the service does not accept, and the fake in production
/// if it is not named.
pub(crate) fn app_providers(
    registry: &mut Registry,
    config: &PaymentConfig,
    services: &[Arc<dyn PaymentService>],
) -> PaymentProviders {
    let mut accounts = accounts(config);
    let named = config.payments.provider.as_deref();
    let is_production = registry.environment().is_production();
    if let Some(name) = named
        && name != FAKE_SERVICE
        && !accounts.iter().any(|account| account.service == name)
    {
        report_missing(registry, name, services);
        return PaymentProviders::default();
    }
    if named.is_none() && accounts.is_empty() && is_production {
        registry.report_problem(
            "no payment service is set up, and production uses the built-in fake, which moves no money, only if it is \
             named",
            "set the credentials of a service, such as STRIPE_API_KEY, or set PAYMENTS_PROVIDER=fake",
        );
        return PaymentProviders::default();
    }
    if named == Some(FAKE_SERVICE) || !is_production {
        let key = ("api_key", "fake_test_app".into());
        accounts.push(AppAccount::new(FAKE_SERVICE, DataEnvironment::Test, [key]));
    }
    if let Some(name) = named {
        // A stable sort: the others keep their order.
        accounts.sort_by_key(|account| account.service != name);
    }
    PaymentProviders::new(accounts.iter().filter_map(|account| connect(registry, account, services)))
}

fn report_missing(registry: &mut Registry, name: &str, services: &[Arc<dyn PaymentService>]) {
    let what = format!("PAYMENTS_PROVIDER is `{}`, and the app has no account there", name.escape_debug());
    let known: Vec<&str> = services.iter().map(|service| service.name()).collect();
    let fix = match name {
        _ if known.contains(&name) => format!("set the credentials of the account, such as {}", first_setting(name)),
        "stripe" | "paypal" | "razorpay" => {
            format!("add the feature `{name}` to `omnistack` in Cargo.toml, or set it to one of {}", known.join(", "))
        }
        _ => format!("set it to one of {}, or add the service by `Payments::service`", known.join(", ")),
    };
    registry.report_problem(what, fix);
}

fn first_setting(service: &str) -> &'static str {
    match service {
        "paypal" => "PAYPAL_CLIENT_ID and PAYPAL_CLIENT_SECRET",
        "razorpay" => "RAZORPAY_KEY_ID and RAZORPAY_KEY_SECRET",
        // The account of the fake is made here.
        FAKE_SERVICE => "PAYMENTS_PROVIDER",
        _ => "STRIPE_API_KEY",
    }
}

/// Creates the provider of an account. Reports credentials that are not accepted, and returns `None` then.
fn connect(
    registry: &mut Registry,
    account: &AppAccount,
    services: &[Arc<dyn PaymentService>],
) -> Option<Arc<dyn PaymentProvider>> {
    let service = services.iter().find(|service| service.name() == account.service)?;
    match service.connect(account.environment, &account.credentials) {
        Ok(provider) => Some(provider),
        Err(problem) => {
            let name = account.service;
            let what = format!("the credentials of the payment service `{name}` are not accepted: {problem}");
            registry.report_problem(what, format!("correct {}", first_setting(name)));
            None
        }
    }
}

/// Returns the accounts with credentials in the settings. A part of the credentials is enough: the service says what is
/// missing.
fn accounts(config: &PaymentConfig) -> Vec<AppAccount> {
    [stripe_account(config), paypal_account(config), razorpay_account(config)].into_iter().flatten().collect()
}

#[cfg(feature = "stripe")]
fn stripe_account(config: &PaymentConfig) -> Option<AppAccount> {
    let key = config.stripe.api_key.clone()?;
    let environment = environment_of(&key, &["sk_test_", "rk_test_"]);
    Some(AppAccount::new("stripe", environment, [("api_key", key)]))
}

#[cfg(not(feature = "stripe"))]
const fn stripe_account(_: &PaymentConfig) -> Option<AppAccount> {
    None
}

#[cfg(feature = "paypal")]
fn paypal_account(config: &PaymentConfig) -> Option<AppAccount> {
    let PayPalSettings { client_id, client_secret, environment, .. } = &config.paypal;
    let id = client_id.as_deref().map(|id| ("client_id", SecretString::from(id)));
    let secret = client_secret.clone().map(|secret| ("client_secret", secret));
    let is_set = id.is_some() || secret.is_some();
    is_set.then(|| AppAccount::new("paypal", environment.0, id.into_iter().chain(secret)))
}

#[cfg(not(feature = "paypal"))]
const fn paypal_account(_: &PaymentConfig) -> Option<AppAccount> {
    None
}

#[cfg(feature = "razorpay")]
fn razorpay_account(config: &PaymentConfig) -> Option<AppAccount> {
    let RazorpaySettings { key_id, key_secret, .. } = &config.razorpay;
    let id = key_id.as_deref().map(SecretString::from);
    let environment = id.as_ref().map_or(DataEnvironment::Live, |id| environment_of(id, &["rzp_test_"]));
    let id = id.map(|id| ("key_id", id));
    let secret = key_secret.clone().map(|secret| ("key_secret", secret));
    let is_set = id.is_some() || secret.is_some();
    is_set.then(|| AppAccount::new("razorpay", environment, id.into_iter().chain(secret)))
}

#[cfg(not(feature = "razorpay"))]
const fn razorpay_account(_: &PaymentConfig) -> Option<AppAccount> {
    None
}

/// Returns the environment that the prefix of a key states.
#[cfg(any(feature = "razorpay", feature = "stripe"))]
fn environment_of(key: &SecretString, test_prefixes: &[&str]) -> DataEnvironment {
    let is_test = test_prefixes.iter().any(|prefix| key.expose_secret().starts_with(prefix));
    if is_test { DataEnvironment::Test } else { DataEnvironment::Live }
}
