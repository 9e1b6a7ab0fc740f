//! Random faults of random services at random times: a payment takes money at most once, and the app knows it in the
//! end.

use std::time::Duration;

use omnistack_payments::{FakeFault, Payment, PaymentRetry, PaymentState};
use omnistack_testkit::{TestDatabase, on_each_database};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy},
    prop_oneof,
    sample::select,
    strategy::ValueTree as _,
    test_runner::TestRunner,
};

use super::{SERVICES, TestTenant, resolve_due, start};

/// Number of payments with random faults, on each database.
const PAYMENTS: usize = 40;

#[derive(Clone, Debug)]
enum PaymentOperation {
    /// Creates the payment, or repeats the request.
    Create,
    Retry,
    Resolve,
    /// Sends the events of the services.
    Deliver,
    Advance {
        seconds: u64,
    },
}

fn fault() -> impl Strategy<Value = Option<FakeFault>> {
    option::weighted(0.7, select(vec![FakeFault::Unavailable, FakeFault::RequestLost, FakeFault::ResponseLost]))
}

fn operation() -> impl Strategy<Value = PaymentOperation> {
    prop_oneof![
        3 => Just(PaymentOperation::Create),
        3 => Just(PaymentOperation::Retry),
        2 => Just(PaymentOperation::Resolve),
        2 => Just(PaymentOperation::Deliver),
        3 => (1..200_u64).prop_map(|seconds| PaymentOperation::Advance { seconds }),
    ]
}

#[derive(Clone, Debug)]
struct Scenario {
    token: &'static str,
    /// The faults of the next calls, by service.
    faults: Vec<Vec<Option<FakeFault>>>,
    operations: Vec<PaymentOperation>,
}

fn scenarios() -> Vec<Scenario> {
    let mut runner = TestRunner::default();
    let tokens = vec!["tok_ok", "tok_ok", "tok_ok", "tok_try_again", "tok_timeout_charged", "tok_timeout_uncharged"];
    let scenario = (select(tokens), vec(vec(fault(), 0..8), SERVICES.len()), vec(operation(), 1..10));
    let scenario = scenario.prop_map(|(token, faults, operations)| Scenario { token, faults, operations });
    (0..PAYMENTS).map(|_| scenario.new_tree(&mut runner).unwrap().current()).collect()
}

/// Runs a scenario. Returns the payment in its final state.
async fn run(tenant: &TestTenant<'_>, key: &str, scenario: &Scenario) -> Payment {
    for (service, faults) in SERVICES.iter().zip(&scenario.faults) {
        tenant.bank.set_faults(service, faults.clone());
    }
    let mut payment = tenant.pay(key, scenario.token).await;
    for (step, operation) in scenario.operations.iter().enumerate() {
        match operation {
            PaymentOperation::Create => {
                assert_eq!(tenant.pay(key, scenario.token).await.id, payment.id);
            }
            PaymentOperation::Retry => {
                let retry = PaymentRetry::new(format!("{key}/{step}")).token(scenario.token);
                let refusal = tenant.ledger.retry(tenant.id, payment.id, retry).await.err();
                let code = refusal.as_ref().map(|error| error.code());
                let known = [None, Some("PAYMENT_OUTCOME_UNKNOWN"), Some("PAYMENT_NOT_RETRYABLE")];
                assert!(known.contains(&code), "{refusal:?}");
            }
            PaymentOperation::Resolve => resolve_due(tenant.app).await,
            PaymentOperation::Deliver => {
                tenant.app.run_jobs().await;
                tenant.app.run_events().await;
            }
            PaymentOperation::Advance { seconds } => tenant.app.clock().advance(Duration::from_secs(*seconds)),
        }
        payment = tenant.get(&payment).await;
        let charges = tenant.charges(&payment).await;
        assert!(charges <= 1, "{charges} charges after step {step} of {scenario:?}: {payment:?}");
        // What the app calls paid is paid, and what it calls failed is not.
        match payment.status {
            PaymentState::Succeeded => assert_eq!(charges, 1, "{scenario:?}: {payment:?}"),
            PaymentState::Failed => assert_eq!(charges, 0, "{scenario:?}: {payment:?}"),
            _ => {}
        }
    }
    // The services work again, and the app asks them.
    for service in SERVICES {
        tenant.bank.set_faults(service, None::<Option<FakeFault>>);
    }
    for _ in 0..3 {
        tenant.app.clock().advance(Duration::from_secs(3_700));
        resolve_due(tenant.app).await;
        tenant.app.run_events().await;
    }
    tenant.get(&payment).await
}

on_each_database! {
    async fn a_payment_takes_money_at_most_once_whatever_fails_where(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let mut states = Vec::new();
        for (number, scenario) in scenarios().iter().enumerate() {
            let payment = run(&tenant, &format!("payment {number}"), scenario).await;
            let charges = tenant.charges(&payment).await;
            let expected = match payment.status {
                PaymentState::Succeeded => (1, 1_000),
                PaymentState::Failed => (0, 0),
                other => panic!("{other:?} after {scenario:?}: {payment:?}"),
            };
            assert_eq!((charges, payment.captured), expected, "{scenario:?}: {payment:?}");
            states.push(payment.status);
        }
        tenant.check_ledger().await;
        assert!(states.contains(&PaymentState::Succeeded) && states.contains(&PaymentState::Failed), "{states:?}");
    }
}
