//! Tests of attempts: failover, unknown outcomes, and payments that are taken twice.

use std::time::Duration;

use omnistack_core::http::Method;
use omnistack_payments::{AttemptState, FakeFault, Payment, PaymentRetry, PaymentState, RefundRequest};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{SETTLED, TestTenant, resolve_due, start};

/// Returns the services and the states of the attempts.
fn attempts(payment: &Payment) -> Vec<(&str, AttemptState)> {
    payment.attempts.iter().map(|attempt| (attempt.provider.as_str(), attempt.status)).collect()
}

on_each_database! {
    async fn each_test_card_ends_in_its_state(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        for (token, status, error) in [
            ("tok_ok", PaymentState::Succeeded, None),
            ("tok_3ds", PaymentState::RequiresAction, None),
            ("tok_slow", PaymentState::Processing, None),
            ("tok_declined", PaymentState::Failed, Some("declined")),
            ("tok_insufficient_funds", PaymentState::Failed, Some("insufficient_funds")),
            ("tok_expired", PaymentState::Failed, Some("expired_card")),
            ("tok_timeout_charged", PaymentState::Unknown, Some("outcome_unknown")),
            ("tok_timeout_uncharged", PaymentState::Unknown, Some("outcome_unknown")),
        ] {
            let payment = tenant.pay(token, token).await;
            assert_eq!(payment.status, status, "{token}");
            assert_eq!(payment.error.as_ref().map(|error| error.code.as_str()), error, "{token}");
            // None of these cards may succeed elsewhere.
            assert_eq!(payment.attempts.len(), 1, "{token}");
            assert_eq!(payment.action_url.is_some(), status == PaymentState::RequiresAction, "{token}");
        }
        tenant.check_ledger().await;
    }

    async fn the_next_service_is_asked_only_if_the_first_has_certainly_not_charged(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let failed = AttemptState::Failed;

        tenant.fault("fake", FakeFault::Unavailable);
        let payment = tenant.pay("unavailable", "tok_ok").await;
        assert_eq!(attempts(&payment), [("fake", failed), ("fake_b", AttemptState::Succeeded)]);
        assert_eq!((payment.status, payment.provider.as_deref()), (PaymentState::Succeeded, Some("fake_b")));
        assert_eq!(payment.attempts[0].error.as_ref().unwrap().code, "provider_unavailable");
        assert_eq!(tenant.charges(&payment).await, 1);

        // A card that can't be checked may be checked elsewhere.
        let payment = tenant.pay("try again", "tok_try_again").await;
        assert_eq!(attempts(&payment), [("fake", failed), ("fake_b", failed), ("fake_c", failed)]);
        assert_eq!(payment.status, PaymentState::Failed);

        for fault in [FakeFault::RequestLost, FakeFault::ResponseLost] {
            tenant.fault("fake", fault);
            let payment = tenant.pay(&format!("{fault:?}"), "tok_ok").await;
            assert_eq!(attempts(&payment), [("fake", AttemptState::Unknown)]);
            assert_eq!(tenant.charges(&payment).await, usize::from(fault == FakeFault::ResponseLost));
        }
        tenant.check_ledger().await;
    }

    async fn tokens_of_services_are_used_at_their_services(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let request = || tenant.request("a", "tok_ok").service_token("fake", "tok_unavailable");
        let payment = tenant.ledger.create(request()).await.unwrap();
        assert_eq!(attempts(&payment), [("fake", AttemptState::Failed), ("fake_b", AttemptState::Succeeded)]);

        let amount = omnistack_core::money::Money::new(500, omnistack_core::money::Currency::EUR);
        let only = omnistack_payments::PaymentRequest::new(tenant.id, "b", amount).service_token("fake_c", "tok_ok");
        let payment = tenant.ledger.create(only).await.unwrap();
        assert_eq!(attempts(&payment), [("fake_c", AttemptState::Succeeded)]);

        let named = tenant.request("c", "tok_unavailable").provider("fake_b");
        let payment = tenant.ledger.create(named).await.unwrap();
        assert_eq!(attempts(&payment), [("fake_b", AttemptState::Failed)]);
        let unknown = tenant.request("d", "tok_ok").provider("other");
        assert_eq!(tenant.ledger.create(unknown).await.unwrap_err().code(), "PAYMENT_NOT_ROUTABLE");
    }

    async fn an_unknown_outcome_is_asked_for_until_it_is_known(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        tenant.fault("fake", FakeFault::ResponseLost);
        let charged = tenant.pay("charged", "tok_ok").await;
        tenant.fault("fake", FakeFault::RequestLost);
        let lost = tenant.pay("lost", "tok_ok").await;
        assert_eq!([charged.status, lost.status], [PaymentState::Unknown; 2]);

        // No other attempt begins, and a request that was lost can still arrive.
        let refused = tenant.ledger.retry(tenant.id, lost.id, PaymentRetry::new("r").token("tok_ok")).await;
        assert_eq!(refused.unwrap_err().code(), "PAYMENT_OUTCOME_UNKNOWN");
        resolve_due(&app).await;
        let charged = tenant.get(&charged).await;
        assert_eq!((charged.status, charged.captured), (PaymentState::Succeeded, 1_000));
        assert_eq!(tenant.get(&lost).await.status, PaymentState::Unknown);

        app.clock().advance(SETTLED);
        resolve_due(&app).await;
        let lost = tenant.get(&lost).await;
        assert_eq!((lost.status, lost.error.unwrap().code.as_str()), (PaymentState::Failed, "not_received"));

        let again = tenant.ledger.retry(tenant.id, lost.id, PaymentRetry::new("r").token("tok_ok")).await.unwrap();
        assert_eq!((again.status, again.attempts.len()), (PaymentState::Succeeded, 2));
        assert_eq!(tenant.charges(&again).await, 1);
        // Providers read the time of the attempt from its reference.
        for attempt in &again.attempts {
            let id = uuid::Uuid::try_parse(attempt.reference.strip_prefix("pay_").unwrap()).unwrap();
            assert_eq!(id.get_version_num(), 7, "{}", attempt.reference);
        }
        // The same retry again, and one of a payment that is paid.
        let same = tenant.ledger.retry(tenant.id, lost.id, PaymentRetry::new("r").token("tok_ok")).await.unwrap();
        assert_eq!(same.attempts.len(), 2);
        let refused = tenant.ledger.retry(tenant.id, lost.id, PaymentRetry::new("s").token("tok_ok")).await;
        assert_eq!(refused.unwrap_err().code(), "PAYMENT_NOT_RETRYABLE");
        tenant.check_ledger().await;
    }

    async fn a_provider_that_is_away_leaves_the_outcome_unknown(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let away = [FakeFault::ResponseLost, FakeFault::Unavailable, FakeFault::Unavailable];
        tenant.bank.set_faults("fake", away.map(Some));
        let payment = tenant.pay("a", "tok_ok").await;
        for _ in 0..2 {
            app.clock().advance(SETTLED * 4);
            resolve_due(&app).await;
            assert_eq!(tenant.get(&payment).await.status, PaymentState::Unknown);
        }
        app.clock().advance(SETTLED * 30);
        resolve_due(&app).await;
        assert_eq!(tenant.get(&payment).await.status, PaymentState::Succeeded);
        assert_eq!(tenant.charges(&payment).await, 1);
    }

    async fn a_forced_payment_that_is_taken_twice_is_overpaid_until_it_is_refunded(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        // The response is lost, and the provider is away when it is asked before the retry.
        tenant.bank.set_faults("fake", [Some(FakeFault::ResponseLost), Some(FakeFault::Unavailable)]);
        let payment = tenant.pay("a", "tok_ok").await;
        let retry = PaymentRetry::new("r").provider("fake_b").token("tok_ok").force();
        let forced = tenant.ledger.retry(tenant.id, payment.id, retry).await.unwrap();
        assert_eq!(attempts(&forced), [("fake", AttemptState::Unknown), ("fake_b", AttemptState::Succeeded)]);
        assert_eq!((forced.status, forced.refund_proposal), (PaymentState::Succeeded, None));
        assert!(forced.attempts[1].forced);

        app.clock().advance(SETTLED);
        resolve_due(&app).await;
        let overpaid = tenant.get(&payment).await;
        assert_eq!((overpaid.status, overpaid.captured), (PaymentState::Overpaid, 2_000));
        let proposal = overpaid.refund_proposal.unwrap();
        assert_eq!((proposal.attempt, proposal.amount), (2, 1_000));
        // The payer has paid too much, and the ledger says it.
        assert!(tenant.balances().await.contains(&("receivable".to_owned(), -1_000)));
        tenant.check_ledger().await;

        let refunded = tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new("surplus")).await.unwrap();
        assert_eq!((refunded.status, refunded.refund_proposal), (PaymentState::Succeeded, None));
        assert_eq!((refunded.captured, refunded.refunded), (2_000, 1_000));
        let accounts: Vec<_> = tenant.balances().await.into_iter().map(|(account, _)| account).collect();
        assert_eq!(accounts, ["fees", "psp_clearing", "revenue"]);
        tenant.check_ledger().await;
    }

    async fn a_reference_says_when_its_attempt_began(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let declined = tenant.pay("a", "tok_declined").await;
        app.clock().advance(Duration::from_secs(86_400));
        let retry = PaymentRetry::new("r").token("tok_ok");
        let paid = tenant.ledger.retry(tenant.id, declined.id, retry).await.unwrap();
        // Providers are searched since this time.
        let seconds = paid.attempts.iter().map(|attempt| {
            let (_, id) = attempt.reference.rsplit_once('_').unwrap();
            let (seconds, _) = uuid::Uuid::try_parse(id).unwrap().get_timestamp().unwrap().to_unix();
            assert!(attempt.reference.len() <= 40, "{}", attempt.reference);
            i64::try_from(seconds).unwrap()
        });
        let started = paid.attempts.iter().map(|attempt| attempt.started_at.as_seconds());
        assert_eq!(seconds.collect::<Vec<_>>(), started.collect::<Vec<_>>());
    }

    async fn an_attempt_of_replaced_credentials_is_not_failed_because_they_know_nothing_of_it(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        tenant.fault("fake", FakeFault::RequestLost);
        let payment = tenant.pay("a", "tok_ok").await;
        app.clock().advance(SETTLED);
        let body = json!({ "fields": { "api_key": "fake_test_2" } });
        let path = "/api/v1/app/services/fake/credentials/test";
        tenant.client.request(Method::PUT, path).json(body).await.expect(200);
        resolve_due(&app).await;
        assert_eq!(tenant.get(&payment).await.status, PaymentState::Unknown);
        let refused = tenant.ledger.retry(tenant.id, payment.id, PaymentRetry::new("r").token("tok_ok")).await;
        assert_eq!(refused.unwrap_err().code(), "PAYMENT_OUTCOME_UNKNOWN");
    }
}
