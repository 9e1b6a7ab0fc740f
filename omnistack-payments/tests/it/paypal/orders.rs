//! Payments, refunds and checkouts of payments.

use omnistack_core::payment::{
    CardExpiry, CheckoutKind, CheckoutStatus, DeclineReason, NewCheckout, NewCustomer, NewRefund, PaymentStatus,
    RefundStatus,
};

use super::*;

fn refund(reference: &str, amount: &str) -> NewRefund {
    NewRefund {
        reference: reference.to_owned(),
        amount: Money::parse(amount, "USD").unwrap(),
        reason: Some("asked for".to_owned()),
        idempotency_key: format!("{reference}:1"),
    }
}

#[tokio::test]
async fn a_payment_is_approved_taken_and_sent_back() {
    let test = PayPalTest::start().await;
    let created = test.provider.create_payment(&new_payment("pay_1", "10.00", "USD")).await.unwrap();
    assert_eq!((created.status, created.captured.minor()), (PaymentStatus::RequiresAction, 0));
    assert!(created.action_url.as_deref().is_some_and(|url| url.contains(&created.id)), "{created:?}");
    assert_eq!(created.reference.as_deref(), Some("pay_1"));
    // The same key again is the same order.
    let again = test.provider.create_payment(&new_payment("pay_1", "10.00", "USD")).await.unwrap();
    assert_eq!(again.id, created.id);

    test.server.approve(&created.id);
    let event = test.event("CHECKOUT.ORDER.APPROVED").unwrap();
    assert_eq!(event.object, ProviderEventObject::Payment(created.id.clone()));
    assert_eq!(event.reference.as_deref(), Some("pay_1"));
    // The event leads here, and here the money is taken: once, however often.
    for _ in 0..3 {
        let paid = test.provider.payment(event.object.root()).await.unwrap();
        assert_eq!((paid.status, paid.captured.minor()), (PaymentStatus::Succeeded, 1000));
        assert_eq!(paid.fee, Some(Money::parse("0.99", "USD").unwrap()));
        assert_eq!(paid.action_url, None);
    }
    assert_eq!(test.server.charges("pay_1"), 1);
    let captured = test.event("PAYMENT.CAPTURE.COMPLETED").unwrap();
    assert_eq!(captured.object, ProviderEventObject::Payment(created.id.clone()));

    let first = test.provider.refund_payment(&created.id, &refund("ref_1", "2.50")).await.unwrap();
    assert_eq!((first.status, first.reference.as_deref()), (RefundStatus::Succeeded, Some("ref_1")));
    let replayed = test.provider.refund_payment(&created.id, &refund("ref_1", "2.50")).await.unwrap();
    assert_eq!(replayed.id, first.id);
    let event = test.event("PAYMENT.CAPTURE.REFUNDED").unwrap();
    let ProviderEventObject::Refund { payment, refund: id } = &event.object else { panic!("{event:?}") };
    assert_eq!(id.as_deref(), Some(first.id.as_str()));
    // The event names the capture only, which leads to the order. The sum is cumulative.
    let paid = test.provider.payment(payment).await.unwrap();
    assert_eq!((paid.id.as_str(), paid.refunded.minor()), (created.id.as_str(), 250));
    test.provider.refund_payment(&created.id, &refund("ref_2", "7.50")).await.unwrap();
    test.provider.refund_payment(&created.id, &refund("ref_2", "7.50")).await.unwrap();
    let error = test.provider.refund_payment(&created.id, &refund("ref_3", "0.01")).await.unwrap_err();
    assert!(matches!(error, PaymentError::Rejected { .. }), "{error}");
    let paid = test.provider.payment(&created.id).await.unwrap();
    assert_eq!((paid.status, paid.refunded.minor()), (PaymentStatus::Succeeded, 1000));
    let refunds = test.provider.refunds(&created.id).await.unwrap();
    let references: Vec<_> = refunds.iter().map(|refund| refund.reference.clone().unwrap()).collect();
    assert_eq!(references, ["ref_1", "ref_2"]);
    assert!(matches!(test.provider.cancel_payment(&created.id, "c").await, Err(PaymentError::Rejected { .. })));
}

#[tokio::test]
async fn a_declined_order_stays_open_for_another_payment_method() {
    let test = PayPalTest::start().await;
    let created = test.provider.create_payment(&new_payment("pay_1", "10.00", "USD")).await.unwrap();
    test.server.approve(&created.id);
    test.server.decline_next();
    let declined = test.provider.payment(&created.id).await.unwrap();
    assert_eq!(declined.status, PaymentStatus::RequiresAction);
    assert!(declined.failure.is_some() && declined.action_url.is_some(), "{declined:?}");
    test.clock.advance(Duration::from_secs(60));
    test.server.approve(&created.id);
    assert_eq!(test.provider.payment(&created.id).await.unwrap().status, PaymentStatus::Succeeded);
    assert_eq!(test.server.charges("pay_1"), 1);
}

/// The payer approves an order that the app has canceled meanwhile.
#[tokio::test]
async fn the_money_of_a_canceled_order_is_not_taken() {
    let test = PayPalTest::start().await;
    let created = test.provider.create_payment(&new_payment("pay_1", "10.00", "USD")).await.unwrap();
    let canceled = test.provider.cancel_payment(&created.id, "cancel").await.unwrap();
    assert_eq!(canceled.status, PaymentStatus::Canceled);
    test.server.approve(&created.id);
    let payment = test.provider.payment(&created.id).await.unwrap();
    assert_eq!((payment.status, payment.reference.as_deref()), (PaymentStatus::Canceled, Some("pay_1")));
    assert_eq!(test.server.charges("pay_1"), 0);
    assert_eq!(test.event("CHECKOUT.ORDER.APPROVED").unwrap().reference.as_deref(), Some("pay_1"));
}

#[tokio::test]
async fn an_authorised_payment_is_captured_in_part_or_released() {
    let test = PayPalTest::start().await;
    let manual =
        |reference: &str| NewPayment { capture: CaptureMode::Manual, ..new_payment(reference, "10.00", "USD") };
    let created = test.provider.create_payment(&manual("pay_1")).await.unwrap();
    let early = Money::parse("4.00", "USD").unwrap();
    assert!(matches!(test.provider.capture_payment(&created.id, early, "k").await, Err(PaymentError::Rejected { .. })));
    test.server.approve(&created.id);
    let authorized = test.provider.payment(&created.id).await.unwrap();
    assert_eq!((authorized.status, authorized.captured.minor()), (PaymentStatus::Authorized, 0));
    let captured = test.provider.capture_payment(&created.id, early, "capture").await.unwrap();
    assert_eq!((captured.status, captured.captured.minor()), (PaymentStatus::Succeeded, 400));
    test.provider.capture_payment(&created.id, early, "capture").await.unwrap();
    assert_eq!(test.server.charges("pay_1"), 1);

    let other = test.provider.create_payment(&manual("pay_2")).await.unwrap();
    test.server.approve(&other.id);
    test.provider.payment(&other.id).await.unwrap();
    assert_eq!(test.provider.cancel_payment(&other.id, "void").await.unwrap().status, PaymentStatus::Canceled);
    assert_eq!(test.provider.payment(&other.id).await.unwrap().status, PaymentStatus::Canceled);
    assert_eq!(test.server.charges("pay_2"), 0);
}

#[tokio::test]
async fn stored_payment_methods_are_charged_at_once() {
    let test = PayPalTest::start().await;
    let new = NewCustomer { reference: "tenant".to_owned(), name: None, email: None, idempotency_key: "c".to_owned() };
    let customer = test.provider.create_customer(&new).await.unwrap();
    assert_eq!(test.provider.create_customer(&new).await.unwrap(), customer);
    assert!(test.provider.payment_methods(&customer.id).await.unwrap().is_empty());
    let card = json!({ "card": { "brand": "VISA", "last_digits": "4242", "expiry": "2031-05" } });
    test.server.add_payment_method(&customer.id, "vault-1", card);
    let methods = test.provider.payment_methods(&customer.id).await.unwrap();
    assert_eq!(
        (methods[0].label.as_str(), methods[0].expires),
        ("VISA …4242", Some(CardExpiry { month: 5, year: 2031 }))
    );

    let charge = |reference: &str, source| NewPayment {
        customer: Some(customer.id.clone()),
        method: PaymentMethodKind::Card,
        source,
        ..new_payment(reference, "10.00", "USD")
    };
    let paid = test.provider.create_payment(&charge("pay_1", PaymentMethodSource::CustomerDefault)).await.unwrap();
    assert_eq!((paid.status, paid.captured.minor()), (PaymentStatus::Succeeded, 1000));
    for (token, expected) in [
        ("vault-declined", DeclineReason::Generic),
        ("vault-insufficient", DeclineReason::InsufficientFunds),
        ("vault-expired", DeclineReason::ExpiredCard),
    ] {
        let source = PaymentMethodSource::Token(token.to_owned());
        let error = test.provider.create_payment(&charge(token, source)).await.unwrap_err();
        let PaymentError::Declined { reason, .. } = error else { panic!("{error}") };
        assert_eq!(reason, expected, "{token}");
        assert_eq!(test.server.charges(token), 0);
    }
    let stranger = NewPayment { customer: None, ..charge("pay_2", PaymentMethodSource::CustomerDefault) };
    assert!(matches!(test.provider.create_payment(&stranger).await, Err(PaymentError::Rejected { .. })));
}

/// Case 26: the response is lost, so the reference is searched. The list is hours behind.
#[tokio::test]
async fn an_unknown_payment_is_found_once_paypal_lists_it() {
    let test = PayPalTest::start().await;
    // Of the time at which the test starts.
    let reference = "pay_01b8dac5-b400-7000-8000-000000000001";
    let payment = NewPayment {
        source: PaymentMethodSource::Token("vault-1".to_owned()),
        ..new_payment(reference, "10.00", "USD")
    };
    test.server.fail_next("POST /v2/checkout/orders", PayPalFault::LostResponse);
    let error = test.provider.create_payment(&payment).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    let error = test.provider.find_payment(reference).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    // The key finds it at once.
    let replayed = test.provider.create_payment(&payment).await.unwrap();
    assert_eq!(test.server.charges(reference), 1);

    test.clock.advance(Duration::from_secs(5 * 60 * 60));
    let found = test.provider.find_payment(reference).await.unwrap().unwrap();
    assert_eq!((found.id, found.status), (replayed.id, PaymentStatus::Succeeded));
    // A reference that is as old and not in the list has no payment. One without a time may have.
    let other = "pay_01b8dac5-b400-7000-8000-000000000002";
    assert_eq!(test.provider.find_payment(other).await.unwrap(), None);
    assert!(matches!(test.provider.find_payment("order-7").await, Err(PaymentError::Unknown { .. })));
}

#[tokio::test]
async fn money_that_was_only_reserved_is_found_too() {
    let test = PayPalTest::start().await;
    let reference = "pay_01b8dac5-b400-7000-8000-000000000001";
    let payment = NewPayment {
        source: PaymentMethodSource::Token("vault-1".to_owned()),
        capture: CaptureMode::Manual,
        ..new_payment(reference, "10.00", "USD")
    };
    test.server.fail_next("POST /v2/checkout/orders", PayPalFault::LostResponse);
    let error = test.provider.create_payment(&payment).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    test.clock.advance(Duration::from_secs(5 * 60 * 60));
    let found = test.provider.find_payment(reference).await.unwrap().unwrap();
    assert_eq!((found.status, found.captured.minor()), (PaymentStatus::Authorized, 0));
}

#[tokio::test]
async fn a_response_that_says_nothing_does_not_say_that_there_is_no_payment() {
    let test = PayPalTest::start().await;
    test.clock.advance(Duration::from_secs(5 * 60 * 60));
    let reference = "pay_01b8dac5-b400-7000-8000-000000000001";
    test.server.fail_next("GET /v1/reporting/transactions", PayPalFault::Response(200, json!({ "other": 1 })));
    let error = test.provider.find_payment(reference).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unavailable { .. }), "{error}");
    assert_eq!(test.provider.find_payment(reference).await.unwrap(), None);
}

/// PayPal refuses a second payment with the reference: the first one has taken the money.
#[tokio::test]
async fn a_reference_that_was_paid_allows_no_other_provider() {
    let test = PayPalTest::start().await;
    let paid =
        NewPayment { source: PaymentMethodSource::Token("vault-1".to_owned()), ..new_payment("pay_1", "10.00", "USD") };
    test.provider.create_payment(&paid).await.unwrap();
    let again = NewPayment { idempotency_key: "pay_1:2".to_owned(), ..paid };
    let error = test.provider.create_payment(&again).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    assert_eq!(test.server.charges("pay_1"), 1);
}

#[tokio::test]
async fn a_checkout_of_a_payment_is_an_order() {
    let test = PayPalTest::start().await;
    let expires_at = test.clock.clock().now() + Duration::from_secs(3600);
    let new = |reference: &str| NewCheckout {
        reference: reference.to_owned(),
        customer: "customer".to_owned(),
        kind: CheckoutKind::Payment { amount: Money::parse("5", "USD").unwrap(), description: "Credits".to_owned() },
        success_url: "https://app.example/ok".to_owned(),
        cancel_url: "https://app.example/back".to_owned(),
        expires_at,
        metadata: BTreeMap::new(),
        idempotency_key: format!("{reference}:1"),
    };
    let open = test.provider.create_checkout(&new("chk_1")).await.unwrap();
    assert_eq!((open.status, open.expires_at), (CheckoutStatus::Open, Some(expires_at)));
    assert!(open.url.is_some() && open.payment.as_deref() == Some(open.id.as_str()), "{open:?}");
    test.server.approve(&open.id);
    let complete = test.provider.checkout(&open.id).await.unwrap();
    assert_eq!((complete.status, complete.url), (CheckoutStatus::Complete, None));
    assert!(matches!(test.provider.expire_checkout(&open.id).await, Err(PaymentError::Rejected { .. })));

    let other = test.provider.create_checkout(&new("chk_2")).await.unwrap();
    test.provider.expire_checkout(&other.id).await.unwrap();
    test.server.approve(&other.id);
    assert_eq!(test.provider.checkout(&other.id).await.unwrap().status, CheckoutStatus::Expired);
    assert_eq!(test.server.charges("chk_2"), 0);

    let method = NewCheckout { kind: CheckoutKind::PaymentMethod, ..new("chk_3") };
    assert!(matches!(test.provider.create_checkout(&method).await, Err(PaymentError::NotSupported { .. })));
    let portal = test.provider.create_portal("customer", "https://app.example").await;
    assert!(matches!(portal, Err(PaymentError::NotSupported { .. })));
}
