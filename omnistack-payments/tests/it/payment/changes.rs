//! Tests of captures and cancellations.

use omnistack_core::payment::CaptureMode;
use omnistack_payments::{AttemptState, FakeFault, PaymentRetry, PaymentState, ProviderChange};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{SETTLED, TestTenant, resolve_due, start};

on_each_database! {
    async fn an_authorized_payment_is_captured_or_canceled(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let authorize = |key: &str| tenant.ledger.create(tenant.request(key, "tok_ok").capture(CaptureMode::Manual));
        let whole = authorize("a").await.unwrap();
        assert_eq!((whole.status, whole.captured), (PaymentState::Authorized, 0));
        for amount in [0, 1_001] {
            let refused = tenant.ledger.capture(tenant.id, whole.id, Some(amount)).await.unwrap_err();
            assert_eq!(refused.code(), "VALIDATION_FAILED");
        }
        let whole = tenant.ledger.capture(tenant.id, whole.id, None).await.unwrap();
        assert_eq!((whole.status, whole.captured), (PaymentState::Succeeded, 1_000));
        let refused = tenant.ledger.capture(tenant.id, whole.id, None).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_NOT_CAPTURABLE");
        let refused = tenant.ledger.cancel(tenant.id, whole.id).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_NOT_CANCELABLE");

        let part = authorize("b").await.unwrap();
        let part = tenant.ledger.capture(tenant.id, part.id, Some(400)).await.unwrap();
        assert_eq!((part.status, part.captured), (PaymentState::Succeeded, 400));

        let canceled = authorize("c").await.unwrap();
        let canceled = tenant.ledger.cancel(tenant.id, canceled.id).await.unwrap();
        assert_eq!((canceled.status, canceled.captured), (PaymentState::Canceled, 0));
        assert_eq!(tenant.ledger.cancel(tenant.id, canceled.id).await.unwrap(), canceled);
        tenant.check_ledger().await;
    }

    async fn a_capture_whose_response_is_lost_is_asked_for_again_with_its_key(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        for (key, fault) in [("a", FakeFault::ResponseLost), ("b", FakeFault::RequestLost)] {
            let request = tenant.request(key, "tok_ok").capture(CaptureMode::Manual);
            let payment = tenant.ledger.create(request).await.unwrap();
            tenant.fault("fake", fault);
            let pending = tenant.ledger.capture(tenant.id, payment.id, Some(700)).await.unwrap();
            assert_eq!(pending.status, PaymentState::Authorized);
            assert_eq!(pending.attempts[0].pending_change, Some(ProviderChange::Capture));
            for refused in [
                tenant.ledger.capture(tenant.id, payment.id, Some(600)).await,
                tenant.ledger.cancel(tenant.id, payment.id).await,
            ] {
                assert_eq!(refused.unwrap_err().code(), "PAYMENT_CHANGE_PENDING");
            }
            app.clock().advance(SETTLED);
            resolve_due(&app).await;
            let captured = tenant.get(&payment).await;
            assert_eq!((captured.status, captured.captured), (PaymentState::Succeeded, 700), "{fault:?}");
            assert_eq!(captured.attempts[0].pending_change, None);
        }
        tenant.check_ledger().await;
    }

    async fn a_capture_at_a_provider_that_is_away_changes_nothing(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let request = tenant.request("a", "tok_ok").capture(CaptureMode::Manual);
        let payment = tenant.ledger.create(request).await.unwrap();
        tenant.fault("fake", FakeFault::Unavailable);
        let refused = tenant.ledger.capture(tenant.id, payment.id, None).await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (503, "PAYMENT_PROVIDER_UNAVAILABLE"));
        let unchanged = tenant.get(&payment).await;
        assert_eq!((unchanged.status, unchanged.attempts[0].pending_change), (PaymentState::Authorized, None));
        tenant.ledger.capture(tenant.id, payment.id, None).await.unwrap();
    }

    async fn a_capture_that_is_asked_for_again_stays_pending_while_the_first_may_take_effect(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let request = tenant.request("a", "tok_ok").capture(CaptureMode::Manual);
        let payment = tenant.ledger.create(request).await.unwrap();
        tenant.bank.set_faults("fake", [Some(FakeFault::ResponseLost), Some(FakeFault::Unavailable)]);
        tenant.ledger.capture(tenant.id, payment.id, Some(700)).await.unwrap();
        let refused = tenant.ledger.capture(tenant.id, payment.id, Some(700)).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_PROVIDER_UNAVAILABLE");
        assert_eq!(tenant.get(&payment).await.attempts[0].pending_change, Some(ProviderChange::Capture));
        app.clock().advance(SETTLED);
        resolve_due(&app).await;
        let captured = tenant.get(&payment).await;
        assert_eq!((captured.status, captured.captured), (PaymentState::Succeeded, 700));
    }

    async fn money_that_two_attempts_hold_is_captured_once_and_the_rest_released(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        // The response is lost, and the provider is away when it is asked before the retry.
        tenant.bank.set_faults("fake", [Some(FakeFault::ResponseLost), Some(FakeFault::Unavailable)]);
        let request = tenant.request("a", "tok_ok").capture(CaptureMode::Manual);
        let payment = tenant.ledger.create(request).await.unwrap();
        let retry = PaymentRetry::new("r").provider("fake_b").token("tok_ok").force();
        tenant.ledger.retry(tenant.id, payment.id, retry).await.unwrap();
        app.clock().advance(SETTLED);
        resolve_due(&app).await;
        let held = tenant.get(&payment).await;
        assert_eq!(held.attempts.iter().map(|one| one.status).collect::<Vec<_>>(), [AttemptState::Authorized; 2]);

        let captured = tenant.ledger.capture(tenant.id, payment.id, None).await.unwrap();
        assert_eq!((captured.status, captured.captured), (PaymentState::Succeeded, 1_000));
        let refused = tenant.ledger.capture(tenant.id, payment.id, None).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_NOT_CAPTURABLE");
        let released = tenant.ledger.cancel(tenant.id, payment.id).await.unwrap();
        assert_eq!((released.status, released.captured), (PaymentState::Succeeded, 1_000));
        assert_eq!(released.attempts[1].status, AttemptState::Canceled);
        let refused = tenant.ledger.cancel(tenant.id, payment.id).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_NOT_CANCELABLE");
        tenant.check_ledger().await;
    }
}
