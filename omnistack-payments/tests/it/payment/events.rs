//! Tests of events of providers.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    data_environment::DataEnvironment,
    money::{Currency, Money},
    payment::{CaptureMode, NewPayment, NewRefund, PaymentMethodKind, PaymentMethodSource, PaymentProvider as _},
};
use omnistack_payments::{FakeFault, PaymentRetry, PaymentState};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{SETTLED, TestTenant, resolve_due, start};

/// Sends the events of the fakes, and delivers what they cause.
async fn deliver(app: &TestApp) {
    app.run_jobs().await;
    app.run_events().await;
}

on_each_database! {
    async fn a_payment_follows_the_events_of_its_provider(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let confirmed = tenant.pay("confirmed", "tok_3ds").await;
        let refused = tenant.pay("refused", "tok_3ds").await;
        let slow = tenant.pay("slow", "tok_slow").await;
        let id = |payment: &omnistack_payments::Payment| payment.provider_payment_id.clone().unwrap();
        tenant.bank.authenticate_payment(&id(&confirmed), true).await.unwrap();
        tenant.bank.authenticate_payment(&id(&refused), false).await.unwrap();
        deliver(&app).await;
        assert_eq!(tenant.get(&confirmed).await.status, PaymentState::Succeeded);
        assert_eq!(tenant.get(&confirmed).await.action_url, None);
        assert_eq!(tenant.get(&refused).await.status, PaymentState::Failed);
        assert_eq!(tenant.get(&slow).await.status, PaymentState::Processing);
        app.clock().advance(Duration::from_secs(3_600));
        deliver(&app).await;
        assert_eq!(tenant.get(&slow).await.status, PaymentState::Succeeded);
        tenant.check_ledger().await;
    }

    async fn an_event_says_that_a_payment_of_unknown_outcome_has_succeeded(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        tenant.fault("fake", FakeFault::ResponseLost);
        let payment = tenant.pay("a", "tok_ok").await;
        assert_eq!(payment.status, PaymentState::Unknown);
        for _ in 0..2 {
            deliver(&app).await;
            let known = tenant.get(&payment).await;
            assert_eq!((known.status, known.captured), (PaymentState::Succeeded, 1_000));
        }
        tenant.check_ledger().await;
    }

    async fn a_refund_that_was_made_at_the_provider_counts(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        let provider = tenant.bank.provider(DataEnvironment::Test);
        let new = NewRefund {
            reference: "dashboard".to_owned(),
            amount: Money::new(300, Currency::USD),
            reason: None,
            idempotency_key: "dashboard".to_owned(),
        };
        provider.refund_payment(&payment.provider_payment_id.clone().unwrap(), &new).await.unwrap();
        deliver(&app).await;
        let refunded = tenant.get(&payment).await;
        assert_eq!((refunded.refunded, refunded.refunds.len()), (300, 0));
        tenant.check_ledger().await;
    }

    async fn a_request_that_arrives_after_it_counted_as_lost_is_not_forgotten(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        tenant.fault("fake", FakeFault::RequestLost);
        let lost = tenant.pay("a", "tok_3ds").await;
        app.clock().advance(SETTLED);
        resolve_due(&app).await;
        assert_eq!(tenant.get(&lost).await.status, PaymentState::Failed);
        let late = NewPayment {
            reference: lost.attempts[0].reference.clone(),
            amount: Money::new(1_000, Currency::USD),
            customer: None,
            method: PaymentMethodKind::Card,
            source: PaymentMethodSource::Token("tok_3ds".to_owned()),
            capture: CaptureMode::Automatic,
            description: None,
            email: None,
            return_url: None,
            metadata: BTreeMap::new(),
            idempotency_key: lost.attempts[0].reference.clone(),
        };
        tenant.bank.provider(DataEnvironment::Test).create_payment(&late).await.unwrap();
        deliver(&app).await;
        assert_eq!(tenant.get(&lost).await.status, PaymentState::RequiresAction);
        // The payer may still pay it, so no other attempt begins.
        let refused = tenant.ledger.retry(tenant.id, lost.id, PaymentRetry::new("r").token("tok_ok")).await;
        assert_eq!(refused.unwrap_err().code(), "PAYMENT_NOT_RETRYABLE");
    }
}
