//! Tests of customers, checkouts, payments and refunds.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    money::{Currency, Money},
    payment::{
        CaptureMode, CardExpiry, CheckoutKind, CheckoutStatus, DeclineReason, NewCheckout, NewRefund, PaymentError,
        PaymentMethodKind, PaymentMethodSource, PaymentStatus, RefundStatus, TrialEndBehavior,
    },
};

use super::{Stripe, payment, reference, usd};

fn refund(number: u32, minor: i64) -> NewRefund {
    NewRefund {
        reference: format!("refund_{number}"),
        amount: usd(minor),
        reason: Some("the order was canceled".to_owned()),
        idempotency_key: format!("refund-key-{number}"),
    }
}

#[tokio::test]
async fn a_payment_takes_money_and_gives_it_back() {
    let stripe = Stripe::start().await;
    stripe.provider.check().await.unwrap();
    let paid = stripe.provider.create_payment(&payment(1, 10_000, "pm_card_visa")).await.unwrap();
    assert_eq!((paid.status, paid.amount, paid.captured), (PaymentStatus::Succeeded, usd(10_000), usd(10_000)));
    assert_eq!((paid.reference, paid.fee), (Some(reference(1)), Some(usd(320))));
    assert_eq!(stripe.server.charges(&reference(1)), 1);
    let object = stripe.server.object(&paid.id).unwrap();
    assert_eq!((&object["metadata"]["tenant_id"], &object["description"]), (&"t1".into(), &"Order 7".into()));
    for request in stripe.server.requests() {
        assert_eq!(request.version.as_deref(), Some("2026-09-30.endive"), "{request:?}");
        assert!(request.method != "POST" || request.idempotency_key.is_some(), "{request:?}");
    }

    let back = stripe.provider.refund_payment(&paid.id, &refund(1, 2_500)).await.unwrap();
    assert_eq!((back.status, back.amount), (RefundStatus::Succeeded, usd(2_500)));
    // The same key again has no further effect.
    assert_eq!(stripe.provider.refund_payment(&paid.id, &refund(1, 2_500)).await.unwrap(), back);
    let too_much = stripe.provider.refund_payment(&paid.id, &refund(2, 9_000)).await;
    assert!(matches!(too_much, Err(PaymentError::Rejected { .. })), "{too_much:?}");
    stripe.provider.refund_payment(&paid.id, &refund(3, 7_500)).await.unwrap();
    assert_eq!(stripe.provider.payment(&paid.id).await.unwrap().refunded, usd(10_000));
    let refunds = stripe.provider.refunds(&paid.id).await.unwrap();
    let mut references: Vec<_> = refunds.into_iter().filter_map(|refund| refund.reference).collect();
    references.sort();
    assert_eq!(references, ["refund_1", "refund_3"]);
}

#[tokio::test]
async fn money_is_reserved_captured_and_released() {
    let stripe = Stripe::start().await;
    let mut new = payment(1, 10_000, "tok_visa");
    new.capture = CaptureMode::Manual;
    let reserved = stripe.provider.create_payment(&new).await.unwrap();
    assert_eq!((reserved.status, reserved.captured), (PaymentStatus::Authorized, usd(0)));
    let captured = stripe.provider.capture_payment(&reserved.id, usd(4_000), "capture-1").await.unwrap();
    assert_eq!((captured.status, captured.captured), (PaymentStatus::Succeeded, usd(4_000)));
    let taken = stripe.provider.cancel_payment(&reserved.id, "cancel-1").await;
    assert!(matches!(taken, Err(PaymentError::Rejected { .. })), "{taken:?}");

    let mut new = payment(2, 10_000, "pm_card_visa");
    new.capture = CaptureMode::Manual;
    let reserved = stripe.provider.create_payment(&new).await.unwrap();
    let released = stripe.provider.cancel_payment(&reserved.id, "cancel-2").await.unwrap();
    assert_eq!(released.status, PaymentStatus::Canceled);
    assert_eq!(stripe.server.charges(&reference(2)), 0);
}

#[tokio::test]
async fn declines_say_why() {
    let stripe = Stripe::start().await;
    for (number, card, expected, code) in [
        (1, "pm_card_visa_chargeDeclined", DeclineReason::Generic, "generic_decline"),
        (2, "pm_card_visa_chargeDeclinedInsufficientFunds", DeclineReason::InsufficientFunds, "insufficient_funds"),
        (3, "tok_chargeDeclinedExpiredCard", DeclineReason::ExpiredCard, "expired_card"),
        (4, "tok_chargeDeclinedProcessingError", DeclineReason::TemporarilyUnavailable, "processing_error"),
    ] {
        let declined = stripe.provider.create_payment(&payment(number, 500, card)).await.unwrap_err();
        let PaymentError::Declined { reason, code: given, .. } = &declined else { panic!("{card}: {declined:?}") };
        assert_eq!((*reason, given.as_deref()), (expected, Some(code)), "{card}");
        assert_eq!(stripe.server.charges(&reference(number)), 0);
        // A payment that was declined is found as failed.
        let found = stripe.provider.find_payment(&reference(number)).await.unwrap().unwrap();
        assert_eq!(found.status, PaymentStatus::Failed, "{card}");
    }
}

#[tokio::test]
async fn a_payer_authenticates_on_a_page() {
    let stripe = Stripe::start().await;
    for (number, succeeds, expected) in [(1, true, PaymentStatus::Succeeded), (2, false, PaymentStatus::Failed)] {
        let new = payment(number, 500, "pm_card_threeDSecure2Required");
        let waiting = stripe.provider.create_payment(&new).await.unwrap();
        assert_eq!(waiting.status, PaymentStatus::RequiresAction);
        assert!(waiting.action_url.unwrap().starts_with("https://"));
        stripe.server.authenticate(&waiting.id, succeeds);
        let ended = stripe.provider.payment(&waiting.id).await.unwrap();
        assert_eq!(ended.status, expected);
        assert_eq!(ended.failure.is_some(), !succeeds);
    }
}

#[tokio::test]
async fn the_default_payment_method_of_a_customer_is_charged() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer("t1").await;
    let mut new = payment(1, 500, "");
    (new.customer, new.source) = (Some(customer.clone()), PaymentMethodSource::CustomerDefault);
    let without = stripe.provider.create_payment(&new).await;
    assert!(matches!(without, Err(PaymentError::Rejected { code: Some(ref code), .. }) if code == "no_payment_method"));

    let customer = stripe.customer_with_card("t2", "visa").await;
    let methods = stripe.provider.payment_methods(&customer).await.unwrap();
    let [method] = methods.as_slice() else { panic!("{methods:?}") };
    assert_eq!((method.kind, method.label.as_str()), (PaymentMethodKind::Card, "Visa …4242"));
    assert_eq!((method.expires, method.is_default), (Some(CardExpiry { month: 8, year: 2034 }), false));
    let default = serde_json::json!({ "invoice_settings": { "default_payment_method": method.id } });
    stripe.server.patch(&customer, default);
    assert!(stripe.provider.payment_methods(&customer).await.unwrap()[0].is_default);
    new.customer = Some(customer.clone());
    new.idempotency_key = "key-2".to_owned();
    assert_eq!(stripe.provider.create_payment(&new).await.unwrap().status, PaymentStatus::Succeeded);
    assert!(stripe.provider.create_portal(&customer, "https://app.example.com").await.unwrap().starts_with("https://"));
    assert!(matches!(stripe.provider.payment_methods("cus_9").await, Err(PaymentError::NotFound { .. })));
}

#[tokio::test]
async fn a_payer_chooses_the_payment_method_on_a_page() {
    let stripe = Stripe::start().await;
    let mut new = payment(1, 500, "");
    new.source = PaymentMethodSource::ChosenByPayer;
    let page = stripe.provider.create_payment(&new).await.unwrap();
    assert_eq!((page.status, page.captured), (PaymentStatus::RequiresAction, usd(0)));
    assert!(page.action_url.is_some());
    let early = stripe.provider.refund_payment(&page.id, &refund(1, 500)).await;
    assert!(matches!(early, Err(PaymentError::Rejected { .. })), "{early:?}");

    assert!(!stripe.server.complete_checkout(&page.id, "pm_card_visa_chargeDeclined"));
    assert_eq!(stripe.provider.payment(&page.id).await.unwrap().status, PaymentStatus::RequiresAction);
    assert!(stripe.server.complete_checkout(&page.id, "pm_card_visa"));
    let paid = stripe.provider.payment(&page.id).await.unwrap();
    assert_eq!((paid.id.as_str(), paid.status, paid.captured), (page.id.as_str(), PaymentStatus::Succeeded, usd(500)));
    stripe.provider.refund_payment(&page.id, &refund(2, 500)).await.unwrap();

    let mut new = payment(2, 500, "");
    new.source = PaymentMethodSource::ChosenByPayer;
    let page = stripe.provider.create_payment(&new).await.unwrap();
    for key in ["cancel", "again"] {
        let canceled = stripe.provider.cancel_payment(&page.id, key).await.unwrap();
        assert_eq!(canceled.status, PaymentStatus::Canceled);
    }
}

#[tokio::test]
async fn values_of_callers_replace_none_of_the_app() {
    let stripe = Stripe::start().await;
    let mut new = payment(1, 500, "pm_card_visa_chargeDeclined");
    for name in ["omnistack_page", "omnistack_reference"] {
        new.metadata.insert(name.to_owned(), "other".to_owned());
    }
    stripe.provider.create_payment(&new).await.unwrap_err();
    // It is no payment on a page, where another attempt would be possible.
    let found = stripe.provider.find_payment(&reference(1)).await.unwrap().unwrap();
    assert_eq!((found.status, found.reference), (PaymentStatus::Failed, Some(reference(1))));
}

// A bank can return a debit days after the page was completed.
#[tokio::test]
async fn a_payment_that_fails_after_its_page_has_failed() {
    let stripe = Stripe::start().await;
    let mut new = payment(1, 500, "");
    new.source = PaymentMethodSource::ChosenByPayer;
    let page = stripe.provider.create_payment(&new).await.unwrap();
    assert!(stripe.server.complete_checkout(&page.id, "pm_card_visa"));
    let intent = stripe.server.object(&page.id).unwrap()["payment_intent"].as_str().unwrap().to_owned();
    let returned = serde_json::json!({
        "status": "requires_payment_method", "amount_received": 0,
        "last_payment_error": { "code": "debit_not_authorized", "message": "The debit was returned." },
    });
    stripe.server.patch(&intent, returned);
    for id in [&page.id, &intent] {
        let failed = stripe.provider.payment(id).await.unwrap();
        assert_eq!((failed.status, failed.captured), (PaymentStatus::Failed, usd(0)), "{id}");
        assert_eq!(failed.failure.as_deref(), Some("The debit was returned."));
    }
}

#[tokio::test]
async fn a_checkout_is_paid_or_expires() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer("t1").await;
    let checkout = |number: u32, kind| NewCheckout {
        reference: format!("checkout_{number}"),
        customer: customer.clone(),
        kind,
        success_url: "https://app.example.com/paid".to_owned(),
        cancel_url: "https://app.example.com/plans".to_owned(),
        expires_at: stripe.now() + Duration::from_secs(3600),
        metadata: BTreeMap::new(),
        idempotency_key: format!("checkout-key-{number}"),
    };
    let plan = CheckoutKind::Subscription {
        price: "price_basic".to_owned(),
        quantity: 3,
        trial_end: None,
        trial_end_behavior: None,
        coupon: None,
    };
    let open = stripe.provider.create_checkout(&checkout(1, plan.clone())).await.unwrap();
    assert_eq!((open.status, open.reference.as_deref()), (CheckoutStatus::Open, Some("checkout_1")));
    assert!(open.url.is_some());
    // The same key is the same checkout.
    assert_eq!(stripe.provider.create_checkout(&checkout(1, plan.clone())).await.unwrap().id, open.id);

    assert!(stripe.server.complete_checkout(&open.id, "pm_card_visa"));
    let complete = stripe.provider.checkout(&open.id).await.unwrap();
    assert_eq!((complete.status, complete.url), (CheckoutStatus::Complete, None));
    // The page names the payment of the first invoice, by which a duplicate is refunded.
    let first = stripe.provider.payment(&complete.payment.unwrap()).await.unwrap();
    assert_eq!((first.status, &first.subscription), (PaymentStatus::Succeeded, &complete.subscription));
    let subscription = stripe.provider.subscription(&complete.subscription.unwrap()).await.unwrap();
    assert_eq!(subscription.reference.as_deref(), Some("checkout_1"));
    assert_eq!((subscription.items[0].price.as_str(), subscription.items[0].quantity), ("price_basic", 3));
    let late = stripe.provider.expire_checkout(&open.id).await;
    assert!(matches!(late, Err(PaymentError::Rejected { .. })), "{late:?}");

    let open = stripe.provider.create_checkout(&checkout(2, plan)).await.unwrap();
    for _ in 0..2 {
        stripe.provider.expire_checkout(&open.id).await.unwrap();
    }
    assert_eq!(stripe.provider.checkout(&open.id).await.unwrap().status, CheckoutStatus::Expired);

    let payment = CheckoutKind::Payment { amount: usd(700), description: "Credits".to_owned() };
    let open = stripe.provider.create_checkout(&checkout(3, payment)).await.unwrap();
    assert!(stripe.server.complete_checkout(&open.id, "pm_card_visa"));
    let paid = stripe.provider.checkout(&open.id).await.unwrap().payment.unwrap();
    assert_eq!(stripe.provider.payment(&paid).await.unwrap().reference.as_deref(), Some("checkout_3"));

    let open = stripe.provider.create_checkout(&checkout(4, CheckoutKind::PaymentMethod)).await.unwrap();
    assert!(stripe.server.complete_checkout(&open.id, "pm_card_visa"));
    assert_eq!(stripe.provider.payment_methods(&customer).await.unwrap().len(), 3);
}

// Cases 20 and 21.
#[tokio::test]
async fn amounts_have_the_units_of_stripe() {
    let stripe = Stripe::start().await;
    for (number, amount, currency, sent) in [
        (1, "100", Currency::JPY, Some(100)),
        (2, "1234.50", Currency::HUF, Some(123_450)),
        (3, "500.00", Currency::MGA, Some(500)),
        (4, "1.230", Currency::KWD, Some(1_230)),
        (5, "1.234", Currency::KWD, None),
        (6, "29.00", Currency::USD, Some(2_900)),
    ] {
        let amount = Money::parse(amount, currency.code()).unwrap();
        let mut new = payment(number, 0, "pm_card_visa");
        new.amount = amount;
        let before = stripe.requests("/payment_intents");
        let outcome = stripe.provider.create_payment(&new).await;
        assert_eq!(stripe.provider.check_amount(amount).is_ok(), sent.is_some(), "{amount}");
        match sent {
            Some(minor) => {
                let paid = outcome.unwrap();
                assert_eq!(paid.amount, amount);
                assert_eq!(stripe.server.object(&paid.id).unwrap()["amount"], minor, "{amount}");
            }
            None => {
                let Err(PaymentError::Rejected { message, .. }) = outcome else { panic!("{outcome:?}") };
                assert!(message.contains("1.230"), "{message}");
                assert_eq!(stripe.requests("/payment_intents"), before);
            }
        }
    }
}

#[tokio::test]
async fn a_trial_asks_for_a_card_unless_its_end_is_stated() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer("t1").await;
    let behaviors = [None, Some(TrialEndBehavior::Cancel), Some(TrialEndBehavior::CreateInvoice)];
    for (number, behavior) in behaviors.into_iter().enumerate() {
        let new = NewCheckout {
            reference: format!("trial_{number}"),
            customer: customer.clone(),
            kind: CheckoutKind::Subscription {
                price: "price_basic".to_owned(),
                quantity: 1,
                trial_end: Some(stripe.now() + Duration::from_secs(14 * 86_400)),
                trial_end_behavior: behavior,
                coupon: None,
            },
            success_url: "https://app.example.com/paid".to_owned(),
            cancel_url: "https://app.example.com/plans".to_owned(),
            expires_at: stripe.now() + Duration::from_secs(3600),
            metadata: BTreeMap::new(),
            idempotency_key: format!("trial-key-{number}"),
        };
        stripe.provider.create_checkout(&new).await.unwrap();
        let requests = stripe.server.requests();
        let form = &requests.last().unwrap().form;
        let expected = behavior.map(TrialEndBehavior::as_str);
        let settings = &form["subscription_data"]["trial_settings"]["end_behavior"]["missing_payment_method"];
        assert_eq!(form["payment_method_collection"].as_str(), behavior.map(|_| "if_required"));
        assert_eq!(settings.as_str(), expected);
    }
}
