//! Tests of captures and cancellations.

use omnistack_core::payment::CaptureMode;
use omnistack_payments::{FakeFault, PaymentState, ProviderChange};
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
}
