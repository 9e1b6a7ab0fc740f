//! Tests that a build which misses a value says what the app adds, in words that the app can write.

use std::marker::PhantomData;

use omnistack::{
    app::{App, DevIdentity},
    config::Config,
    module::{Module, Registry},
    storage::Files,
};

/// A module that requires a `T`.
struct Needs<T>(PhantomData<fn() -> T>);

impl<T: 'static> Module for Needs<T> {
    fn name(&self) -> &'static str {
        "needs"
    }

    fn register(&self, registry: &mut Registry) {
        registry.require::<T>();
    }
}

/// Returns the module that requires a `T`.
fn needs<T: 'static>() -> Needs<T> {
    Needs(PhantomData)
}

macro_rules! missing {
    ($($value:ty => $fix:literal),+ $(,)?) => {$(
        let report = App::builder(Config::default()).with(needs::<$value>()).build().unwrap_err().to_string();
        let name = stringify!($value);
        let expected = format!("needs: needs `{name}`, which no module provides\n      fix: add `.with({})`", $fix);
        assert!(report.contains("1 problem\n") && report.contains(&expected), "{report}");
    )+};
}

#[tokio::test]
async fn a_missing_value_has_its_public_path_and_the_call_that_provides_it() {
    missing![
        omnistack::ai::AiGateway => "Ai::from_env()",
        omnistack::ai::Prompts => "Ai::from_env()",
        omnistack::ai::Vectors => "Ai::from_env()",
        omnistack::auth::users::Users => "Auth::from_env()",
        omnistack::billing::BillingAccounts => "Billing::from_env()",
        omnistack::billing::Invoices => "Billing::from_env()",
        omnistack::billing::Quotas => "Billing::from_env()",
        omnistack::billing::Wallets => "Billing::from_env()",
        omnistack::contact::ContactInbox => "Contact::default()",
        omnistack::credits::CreditAccounts => "Billing::from_env()",
        omnistack::email::Outbox => "Mail::default()",
        omnistack::email::Suppressions => "Mail::default()",
        omnistack::flags::Flags => "FeatureFlags::default()",
        omnistack::identity::Authenticator => "Auth::from_env()",
        omnistack::payments::PaymentAccounts => "Payments::from_env()",
        omnistack::payments::PaymentLedger => "Payments::from_env()",
        omnistack::sms::SmsOutbox => "Sms::default()",
        omnistack::sms::SmsSuppressions => "Sms::default()",
        omnistack::storage::FileService => "Files::from_env()",
        omnistack::storage::Storage => "Files::from_env()",
    ];
}

#[tokio::test]
async fn what_a_module_with_a_problem_would_provide_is_no_further_problem() {
    let needs_files = needs::<omnistack::storage::FileService>();
    let builder = App::builder(Config::default()).with(DevIdentity::default()).with(needs_files);
    let report = builder.with(Files::from_env()).set("STORAGE_PROVIDER", "attic").build().unwrap_err();
    assert!(report.0.len() == 1 && report.0[0].module == "files", "{report}");
}
