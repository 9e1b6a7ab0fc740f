//! Tests of payments and refunds at the fake.

use omnistack_core::payment::{
    CaptureMode, DeclineReason, NewRefund, PaymentError, PaymentMethodSource, PaymentProvider as _, PaymentStatus,
};
use omnistack_payments::FakeFault;
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{Duration, card, money, payment, start};

fn refund(reference: &str, amount: &str) -> NewRefund {
    NewRefund {
        reference: reference.into(),
        amount: money(amount),
        reason: None,
        idempotency_key: format!("refund-{reference}"),
    }
}

/// Returns what a call says about the money.
fn outcome(error: &PaymentError) -> &'static str {
    match error {
        PaymentError::Declined { reason: DeclineReason::InsufficientFunds, .. } => "insufficient funds",
        PaymentError::Declined { reason: DeclineReason::ExpiredCard, .. } => "expired",
        PaymentError::Declined { .. } => "declined",
        PaymentError::Rejected { .. } => "rejected",
        PaymentError::Unavailable { .. } => "unavailable",
        PaymentError::Unknown { .. } => "unknown",
        _ => "other",
    }
}

on_each_database! {
    async fn cards_behave_as_their_token_says(database: TestDatabase) {
        let fake = start(database).await;
        // The token, the result at first, and how often the payer was charged: at once and later.
        for (token, first, charges, later) in [
            ("tok_ok", "succeeded", 1, 1),
            ("4242424242424242", "succeeded", 1, 1),
            ("tok_declined", "declined", 0, 0),
            ("tok_insufficient_funds", "insufficient funds", 0, 0),
            ("tok_expired", "expired", 0, 0),
            ("tok_3ds", "requires_action", 0, 0),
            ("tok_slow", "processing", 0, 1),
            ("tok_slow_declined", "processing", 0, 0),
            ("tok_timeout_charged", "unknown", 1, 1),
            ("tok_timeout_uncharged", "unknown", 0, 0),
            ("tok_unavailable", "unavailable", 0, 0),
            ("tok_dispute", "succeeded", 1, 1),
            ("tok_fails_on_renewal", "succeeded", 1, 1),
            ("tok_visa", "rejected", 0, 0),
        ] {
            let result = fake.provider.create_payment(&payment(token, "10.00", card(token))).await;
            let found = result.as_ref().map_or_else(outcome, |payment| payment.status.as_str());
            assert_eq!(found, first, "{token}");
            assert_eq!(fake.provider.charges(token).await.unwrap(), charges, "{token}");
            fake.advance(Duration::from_secs(5 * 60)).await;
            assert_eq!(fake.provider.charges(token).await.unwrap(), later, "{token}");
        }
    }

    async fn an_unknown_payment_is_found_and_repeated_without_a_second_charge(database: TestDatabase) {
        let fake = start(database).await;
        let charged = payment("charged", "10.00", card("tok_timeout_charged"));
        let uncharged = payment("uncharged", "10.00", card("tok_timeout_uncharged"));
        for new in [&charged, &uncharged] {
            assert_eq!(outcome(&fake.provider.create_payment(new).await.unwrap_err()), "unknown");
        }
        let found = fake.provider.find_payment("charged").await.unwrap().unwrap();
        assert_eq!((found.status, found.captured), (PaymentStatus::Succeeded, money("10.00")));
        assert_eq!(fake.provider.find_payment("uncharged").await.unwrap(), None);
        assert_eq!(fake.provider.create_payment(&charged).await.unwrap(), found);
        let repeated = fake.provider.create_payment(&uncharged).await.unwrap();
        assert_eq!(repeated.status, PaymentStatus::Succeeded);
        for reference in ["charged", "uncharged"] {
            assert_eq!(fake.provider.charges(reference).await.unwrap(), 1, "{reference}");
        }
    }

    async fn faults_of_a_test_happen_once_each(database: TestDatabase) {
        let fake = start(database).await;
        let new = payment("one", "10.00", card("tok_ok"));
        let faults = [FakeFault::Unavailable, FakeFault::RequestLost, FakeFault::ResponseLost];
        fake.bank.set_faults("fake", faults.map(Some));
        for (expected, charges) in [("unavailable", 0), ("unknown", 0), ("unknown", 1), ("succeeded", 1)] {
            let result = fake.provider.create_payment(&new).await;
            assert_eq!(result.as_ref().map_or_else(outcome, |payment| payment.status.as_str()), expected);
            assert_eq!(fake.bank.charges("one").await.unwrap(), charges, "{expected}");
        }
    }

    async fn a_key_has_one_effect_and_one_meaning(database: TestDatabase) {
        let fake = start(database).await;
        let new = payment("one", "10.00", card("tok_ok"));
        let first = fake.provider.create_payment(&new).await.unwrap();
        assert_eq!(fake.provider.create_payment(&new).await.unwrap(), first);
        let mut other = new.clone();
        other.amount = money("11.00");
        assert_eq!(outcome(&fake.provider.create_payment(&other).await.unwrap_err()), "rejected");
        let declined = payment("two", "10.00", card("tok_declined"));
        for _ in 0..2 {
            assert_eq!(outcome(&fake.provider.create_payment(&declined).await.unwrap_err()), "declined");
        }
        assert_eq!(fake.provider.charges("one").await.unwrap(), 1);
        let failed = fake.provider.find_payment("two").await.unwrap().unwrap();
        assert_eq!(failed.status, PaymentStatus::Failed);
        // A payment that succeeds is found before one that has failed.
        let mut again = payment("two", "10.00", card("tok_ok"));
        again.idempotency_key = "another".into();
        let paid = fake.provider.create_payment(&again).await.unwrap();
        assert_eq!(fake.provider.find_payment("two").await.unwrap().unwrap().id, paid.id);
    }

    async fn authorised_money_is_captured_or_released(database: TestDatabase) {
        let fake = start(database).await;
        let mut ids = Vec::new();
        for reference in ["captured", "canceled", "forgotten"] {
            let mut new = payment(reference, "10.00", card("tok_ok"));
            new.capture = CaptureMode::Manual;
            let authorised = fake.provider.create_payment(&new).await.unwrap();
            assert_eq!((authorised.status, authorised.captured), (PaymentStatus::Authorized, money("0")));
            ids.push(authorised.id);
        }
        let rejected = fake.provider.capture_payment(&ids[0], money("10.01"), "too-much").await.unwrap_err();
        assert_eq!(outcome(&rejected), "rejected");
        for _ in 0..2 {
            let captured = fake.provider.capture_payment(&ids[0], money("6.00"), "capture").await.unwrap();
            assert_eq!((captured.status, captured.captured), (PaymentStatus::Succeeded, money("6.00")));
            let canceled = fake.provider.cancel_payment(&ids[1], "cancel").await.unwrap();
            assert_eq!(canceled.status, PaymentStatus::Canceled);
        }
        let rejected = fake.provider.cancel_payment(&ids[0], "late").await.unwrap_err();
        assert_eq!(outcome(&rejected), "rejected");
        fake.advance(Duration::from_secs(7 * 24 * 60 * 60)).await;
        assert_eq!(fake.provider.payment(&ids[2]).await.unwrap().status, PaymentStatus::Canceled);
    }

    async fn refunds_send_back_at_most_what_was_taken(database: TestDatabase) {
        let fake = start(database).await;
        let paid = fake.provider.create_payment(&payment("one", "10.00", card("tok_refund_timeout"))).await.unwrap();
        let first = refund("first", "2.50");
        assert_eq!(outcome(&fake.provider.refund_payment(&paid.id, &first).await.unwrap_err()), "unknown");
        assert_eq!(fake.provider.refund_payment(&paid.id, &first).await.unwrap().amount, money("2.50"));
        let error = fake.provider.refund_payment(&paid.id, &refund("second", "7.51")).await.unwrap_err();
        assert!(error.to_string().contains("at most 7.50 USD"), "{error}");
        fake.provider.refund_payment(&paid.id, &refund("third", "7.50")).await.unwrap();
        assert_eq!(fake.provider.payment(&paid.id).await.unwrap().refunded, money("10.00"));
        assert_eq!(fake.provider.refunds(&paid.id).await.unwrap().len(), 2);
    }

    async fn a_payer_confirms_on_a_page(database: TestDatabase) {
        let fake = start(database).await;
        for (reference, source, action, expected) in [
            ("confirmed", card("tok_3ds"), "complete", PaymentStatus::Succeeded),
            ("failed", card("tok_3ds"), "fail", PaymentStatus::Failed),
            ("chosen", PaymentMethodSource::ChosenByPayer, "complete", PaymentStatus::Succeeded),
        ] {
            let waiting = fake.provider.create_payment(&payment(reference, "10.00", source)).await.unwrap();
            let url = waiting.action_url.unwrap();
            let page = fake.app.anonymous().get(crate::fake::path_of(&url)).await.expect_ok();
            assert!(page.text().contains("10.00 USD"), "{}", page.text());
            let done = fake.submit(&url, &[("action", action), ("card", "tok_3ds")]).await.expect(303);
            assert_eq!(done.header("location"), Some("https://app.example.com/back"));
            assert_eq!(fake.provider.payment(&waiting.id).await.unwrap().status, expected, "{reference}");
            fake.submit(&url, &[("action", action)]).await.expect_error(409, "FAKE_PAYMENTS_REJECTED");
        }
        let waiting = fake.provider.create_payment(&payment("late", "10.00", card("tok_3ds"))).await.unwrap();
        fake.advance(Duration::from_secs(23 * 60 * 60)).await;
        assert_eq!(fake.provider.payment(&waiting.id).await.unwrap().status, PaymentStatus::Failed);
    }
}
