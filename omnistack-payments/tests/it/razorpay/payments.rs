//! Payments, refunds and checkouts of payments.

use omnistack_core::payment::{
    CardExpiry, CheckoutKind, CheckoutStatus, DeclineReason, NewCheckout, NewRefund, RefundStatus,
};

use super::*;

fn refund(reference: &str, amount: &str) -> NewRefund {
    NewRefund {
        reference: reference.to_owned(),
        amount: Money::parse(amount, "INR").unwrap(),
        reason: Some("asked for".to_owned()),
        idempotency_key: format!("{reference}:1"),
    }
}

#[tokio::test]
async fn a_payment_on_the_page_is_a_link() {
    let test = RazorpayTest::start().await;
    let created = test.provider.create_payment(&new_payment("pay_1", "10.00", "INR")).await.unwrap();
    assert_eq!((created.status, created.captured.minor()), (PaymentStatus::RequiresAction, 0));
    assert!(created.action_url.is_some(), "{created:?}");
    let again = test.provider.create_payment(&new_payment("pay_1", "10.00", "INR")).await.unwrap();
    assert_eq!(again, created);

    test.server.fail_to_pay(&created.id);
    let open = test.provider.payment(&created.id).await.unwrap();
    assert_eq!(open.status, PaymentStatus::RequiresAction);
    let payment = test.server.pay(&created.id);
    let event = test.event("payment_link.paid").unwrap();
    assert_eq!(event.object, ProviderEventObject::Payment(created.id.clone()));
    assert_eq!((event.reference.as_deref(), event.environment), (Some("pay_1"), DataEnvironment::Test));
    let paid = test.provider.payment(event.object.root()).await.unwrap();
    assert_eq!((paid.status, paid.captured.minor()), (PaymentStatus::Succeeded, 1000));
    assert_eq!(paid.fee, Some(Money::parse("0.23", "INR").unwrap()));
    assert_eq!(test.provider.find_payment("pay_1").await.unwrap().unwrap().id, created.id);
    assert_eq!(test.provider.find_payment("pay_2").await.unwrap(), None);
    assert_eq!(test.server.charges("pay_1"), 1);

    let first = test.provider.refund_payment(&created.id, &refund("ref_1", "2.50")).await.unwrap();
    assert_eq!((first.status, first.reference.as_deref()), (RefundStatus::Succeeded, Some("ref_1")));
    let event = test.event("refund.processed").unwrap();
    assert!(matches!(&event.object, ProviderEventObject::Refund { refund: Some(id), .. } if *id == first.id));
    // The response is lost: the same refund again is not sent twice.
    test.server.fail_next(&format!("POST /v1/payments/{payment}/refund"), RazorpayFault::LostResponse);
    let second = refund("ref_2", "7.50");
    let error = test.provider.refund_payment(&created.id, &second).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    test.provider.refund_payment(&created.id, &second).await.unwrap();
    assert_eq!(test.provider.payment(&created.id).await.unwrap().refunded.minor(), 1000);
    let error = test.provider.refund_payment(&created.id, &refund("ref_3", "0.01")).await.unwrap_err();
    assert!(matches!(error, PaymentError::Rejected { .. }), "{error}");
    assert_eq!(test.provider.refunds(&created.id).await.unwrap().len(), 2);
    assert!(matches!(test.provider.cancel_payment(&created.id, "c").await, Err(PaymentError::Rejected { .. })));
}

#[tokio::test]
async fn a_link_is_closed() {
    let test = RazorpayTest::start().await;
    let created = test.provider.create_payment(&new_payment("pay_1", "10.00", "INR")).await.unwrap();
    for _ in 0..2 {
        let canceled = test.provider.cancel_payment(&created.id, "cancel").await.unwrap();
        assert_eq!(canceled.status, PaymentStatus::Canceled);
    }
    assert_eq!(test.provider.payment(&created.id).await.unwrap().status, PaymentStatus::Canceled);
}

#[tokio::test]
async fn stored_payment_methods_are_charged_once() {
    let test = RazorpayTest::start().await;
    let customer = test.customer("token_ok").await;
    assert_eq!(test.customer("token_declined").await, customer);
    for token in ["token_insufficient", "token_expired"] {
        test.server.add_token(&customer, token, json!({ "method": "upi", "vpa": { "username": "a", "handle": "b" } }));
    }
    let methods = test.provider.payment_methods(&customer).await.unwrap();
    assert_eq!(
        (methods[0].label.as_str(), methods[0].expires),
        ("Visa …1111", Some(CardExpiry { month: 5, year: 2031 }))
    );
    assert_eq!(methods[3].label, "UPI a@b");

    let charge = |reference: &str, source| NewPayment {
        customer: Some(customer.clone()),
        source,
        ..new_payment(reference, "10.00", "INR")
    };
    let payment = charge("pay_1", PaymentMethodSource::CustomerDefault);
    // The response is lost, and a repetition finds the payment.
    test.server.fail_next("POST /v1/payments/create/recurring", RazorpayFault::LostResponse);
    let error = test.provider.create_payment(&payment).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    let found = test.provider.find_payment("pay_1").await.unwrap().unwrap();
    assert_eq!((found.status, found.captured.minor()), (PaymentStatus::Succeeded, 1000));
    assert_eq!(test.provider.create_payment(&payment).await.unwrap(), found);
    assert_eq!(test.server.charges("pay_1"), 1);
    let event = test.event("payment.captured").unwrap();
    assert_eq!(event.object, ProviderEventObject::Payment(found.id.clone()));

    // The request is lost: nothing is known for ten minutes, then nothing was charged.
    test.server.fail_next("POST /v1/payments/create/recurring", RazorpayFault::LostRequest);
    let error = test.provider.create_payment(&charge("pay_2", PaymentMethodSource::CustomerDefault)).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    let status = async || test.provider.find_payment("pay_2").await.unwrap().unwrap().status;
    assert_eq!(status().await, PaymentStatus::Processing);
    test.clock.advance(Duration::from_secs(11 * 60));
    assert_eq!(status().await, PaymentStatus::Failed);

    for (token, expected) in [
        ("token_declined", DeclineReason::Generic),
        ("token_insufficient", DeclineReason::InsufficientFunds),
        ("token_expired", DeclineReason::ExpiredCard),
    ] {
        let source = PaymentMethodSource::Token(token.to_owned());
        let error = test.provider.create_payment(&charge(token, source.clone())).await.unwrap_err();
        let PaymentError::Declined { reason, .. } = error else { panic!("{error}") };
        assert_eq!(reason, expected, "{token}");
        assert!(test.provider.create_payment(&charge(token, source)).await.is_err());
        assert_eq!(test.server.charges(token), 0);
    }
    let stranger = NewPayment { customer: None, ..charge("pay_3", PaymentMethodSource::CustomerDefault) };
    assert!(matches!(test.provider.create_payment(&stranger).await, Err(PaymentError::Rejected { .. })));
}

#[tokio::test]
async fn an_order_of_a_checkout_in_the_app_is_captured_as_a_whole() {
    let test = RazorpayTest::start().await;
    let manual =
        |reference: &str| NewPayment { capture: CaptureMode::Manual, ..new_payment(reference, "10.00", "INR") };
    let created = test.provider.create_payment(&manual("pay_1")).await.unwrap();
    assert!(created.id.starts_with("order_") && created.action_url.is_none(), "{created:?}");
    assert_eq!(created.status, PaymentStatus::RequiresAction);
    let whole = created.amount;
    assert!(matches!(test.provider.capture_payment(&created.id, whole, "k").await, Err(PaymentError::Rejected { .. })));
    let payment = test.server.pay(&created.id);
    let event = test.event("payment.authorized").unwrap();
    assert_eq!(event.object, ProviderEventObject::Payment(created.id.clone()));
    let authorized = test.provider.payment(&payment).await.unwrap();
    assert_eq!((authorized.id.as_str(), authorized.status), (created.id.as_str(), PaymentStatus::Authorized));
    let part = Money::parse("4.00", "INR").unwrap();
    let error = test.provider.capture_payment(&created.id, part, "k").await.unwrap_err();
    assert!(matches!(error, PaymentError::NotSupported { .. }), "{error}");
    assert!(matches!(test.provider.cancel_payment(&created.id, "c").await, Err(PaymentError::NotSupported { .. })));
    for _ in 0..2 {
        let captured = test.provider.capture_payment(&created.id, whole, "k").await.unwrap();
        assert_eq!((captured.status, captured.captured), (PaymentStatus::Succeeded, whole));
    }
    assert_eq!(test.server.charges("pay_1"), 1);

    let other = test.provider.create_payment(&manual("pay_2")).await.unwrap();
    test.provider.cancel_payment(&other.id, "cancel").await.unwrap();
    let canceled = test.provider.payment(&other.id).await.unwrap();
    assert_eq!((canceled.status, canceled.reference.as_deref()), (PaymentStatus::Canceled, Some("pay_2")));
    // The payer has the checkout still open: the money is reserved, and not taken.
    test.server.pay(&other.id);
    assert_eq!(test.provider.payment(&other.id).await.unwrap().status, PaymentStatus::Authorized);
}

#[tokio::test]
async fn a_checkout_of_a_payment_is_a_link() {
    let test = RazorpayTest::start().await;
    let expires_at = test.clock.clock().now() + Duration::from_secs(3600);
    let new = |reference: &str| NewCheckout {
        reference: reference.to_owned(),
        customer: "cust_1".to_owned(),
        kind: CheckoutKind::Payment { amount: Money::parse("5", "INR").unwrap(), description: "Credits".to_owned() },
        success_url: "https://app.example/ok".to_owned(),
        cancel_url: "https://app.example/back".to_owned(),
        expires_at,
        metadata: BTreeMap::new(),
        idempotency_key: format!("{reference}:1"),
    };
    // The response is lost: the link is found when it is created again.
    test.server.fail_next("POST /v1/payment_links", RazorpayFault::LostResponse);
    assert!(matches!(test.provider.create_checkout(&new("chk_1")).await, Err(PaymentError::Unavailable { .. })));
    let open = test.provider.create_checkout(&new("chk_1")).await.unwrap();
    assert_eq!(test.provider.create_checkout(&new("chk_1")).await.unwrap().id, open.id);
    assert_eq!((open.status, open.expires_at), (CheckoutStatus::Open, Some(expires_at)));
    assert_eq!(test.server.object(&open.id).unwrap()["expire_by"], expires_at.as_seconds());
    test.server.pay(&open.id);
    let complete = test.provider.checkout(&open.id).await.unwrap();
    assert_eq!((complete.status, complete.url), (CheckoutStatus::Complete, None));
    assert!(matches!(test.provider.expire_checkout(&open.id).await, Err(PaymentError::Rejected { .. })));

    let other = test.provider.create_checkout(&new("chk_2")).await.unwrap();
    test.provider.expire_checkout(&other.id).await.unwrap();
    assert_eq!(test.provider.checkout(&other.id).await.unwrap().status, CheckoutStatus::Expired);
    let method = NewCheckout { kind: CheckoutKind::PaymentMethod, ..new("chk_3") };
    assert!(matches!(test.provider.create_checkout(&method).await, Err(PaymentError::NotSupported { .. })));
    let portal = test.provider.create_portal("cust_1", "https://app.example").await;
    assert!(matches!(portal, Err(PaymentError::NotSupported { .. })));
}

#[tokio::test]
async fn a_response_that_says_nothing_does_not_say_that_there_is_no_payment() {
    let test = RazorpayTest::start().await;
    let customer = test.customer("token_ok").await;
    let payment = NewPayment {
        customer: Some(customer),
        source: PaymentMethodSource::Token("token_ok".to_owned()),
        ..new_payment("pay_1", "10.00", "INR")
    };
    for request in ["GET /v1/payment_links", "GET /v1/orders"] {
        test.server.fail_next(request, RazorpayFault::Response(200, json!({ "entity": "other" })));
        let error = test.provider.find_payment("pay_1").await.unwrap_err();
        assert!(matches!(error, PaymentError::Unavailable { .. }), "{request}: {error}");
    }
    // The charge has taken effect, whatever the next call says.
    let order = test.provider.create_payment(&payment).await.unwrap().id;
    let read = format!("GET /v1/orders/{order}");
    test.server.fail_next(&read, RazorpayFault::Response(401, json!({ "error": { "description": "no" } })));
    let error = test.provider.create_payment(&payment).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    assert_eq!(test.server.charges("pay_1"), 1);
}

/// Razorpay returns the customer with the same mail address, whose payment methods are of another tenant.
#[tokio::test]
async fn tenants_with_the_same_mail_address_share_no_customer() {
    let test = RazorpayTest::start().await;
    let new = |reference: &str| NewCustomer {
        reference: reference.to_owned(),
        name: None,
        email: Some("ada@example.com".to_owned()),
        idempotency_key: reference.to_owned(),
    };
    let first = test.provider.create_customer(&new("tenant-1")).await.unwrap();
    assert_eq!(test.provider.create_customer(&new("tenant-1")).await.unwrap(), first);
    let second = test.provider.create_customer(&new("tenant-2")).await.unwrap();
    assert_ne!(second, first);
}

/// A payment in another currency than that of the account has its fee in the account's.
#[tokio::test]
async fn fees_have_their_own_currency() {
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let upstream = MockServer::start().await;
    let order = r#"{"id":"order_1","amount":10000,"currency":"USD","notes":{"reference":"pay_1"}}"#;
    let payment = r#"{"id":"pay_1","status":"captured","amount":10000,"currency":"USD","amount_refunded":0,"fee":25000,
        "base_amount":830000,"base_currency":"INR"}"#;
    upstream.expect("GET", "/v1/orders/order_1").times(..).reply(MockResponse::json(200, order));
    let payments = format!(r#"{{"items":[{payment}]}}"#);
    upstream.expect("GET", "/v1/orders/order_1/payments").times(..).reply(MockResponse::json(200, payments));
    let paid = connect(upstream.url(), &clock, KEY_SECRET).payment("order_1").await.unwrap();
    assert_eq!((paid.captured.to_string(), paid.fee), ("100.00 USD".to_owned(), Money::parse("250.00", "INR").ok()));
}

#[tokio::test]
async fn long_references_are_found_too() {
    let test = RazorpayTest::start().await;
    let long = format!("pay_{}", "a".repeat(100));
    let created = test.provider.create_payment(&new_payment(&long, "10.00", "INR")).await.unwrap();
    assert_eq!(created.reference.as_deref(), Some(long.as_str()));
    assert_eq!(test.provider.find_payment(&long).await.unwrap().unwrap().id, created.id);
    let error = test.provider.create_payment(&new_payment(&"a".repeat(257), "10.00", "INR")).await.unwrap_err();
    assert!(matches!(error, PaymentError::Rejected { .. }), "{error}");
}

#[tokio::test]
async fn a_dispute_has_the_amount_that_was_deducted() {
    let test = RazorpayTest::start().await;
    for (status, deducted, won, amount) in [
        ("open", 0, None, "100.00"),
        ("under_review", 0, None, "100.00"),
        ("won", 0, Some(true), "100.00"),
        ("lost", 4_000, Some(false), "40.00"),
        ("closed", 0, Some(true), "100.00"),
    ] {
        let dispute = json!({
            "id": "disp_1", "entity": "dispute", "payment_id": "pay_1", "amount": 10_000, "currency": "INR",
            "amount_deducted": deducted, "status": status,
        });
        test.server.add_dispute("disp_1", dispute);
        let found = test.provider.dispute("disp_1").await.unwrap();
        assert_eq!((found.won, found.payment.as_deref()), (won, Some("pay_1")), "{status}");
        assert_eq!((found.amount, found.fee), (Money::parse(amount, "INR").unwrap(), None), "{status}");
    }
    assert!(matches!(test.provider.dispute("disp_2").await, Err(PaymentError::NotFound { .. })));
}

#[tokio::test]
async fn disputes_and_events_of_no_concern_are_told_apart() {
    let test = RazorpayTest::start().await;
    // A question of the bank is closed: the payment is not disputed any more.
    for (status, won) in [("open", None), ("won", Some(true)), ("lost", Some(false)), ("closed", Some(true))] {
        let payment = json!({ "id": "pay_1", "order_id": "order_1", "notes": { "reference": "pay_ref" } });
        let event = json!({ "event": format!("payment.dispute.{status}"), "created_at": 1_893_456_000, "payload": {
            "payment": { "entity": payment }, "dispute": { "entity": { "id": "disp_1", "status": status } },
        }});
        let event = test.read(&event).unwrap();
        let payment = Some("order_1".to_owned());
        assert_eq!(event.object, ProviderEventObject::Dispute { id: "disp_1".to_owned(), payment, won });
        assert_eq!(event.reference.as_deref(), Some("pay_ref"));
        assert_eq!(event.occurred_at, Some("2030-01-01T00:00:00Z".parse().unwrap()));
    }
    let contains = |name: &str, id: &str| json!({ name: { "entity": { "id": id } } });
    for event in [
        json!({ "event": "payment.downtime.started", "payload": contains("payment.downtime", "down_1") }),
        json!({ "event": "settlement.processed", "payload": contains("settlement", "setl_1") }),
        json!({ "event": "order.paid", "payload": [] }),
    ] {
        assert_eq!(test.read(&event), None, "{event}");
    }
}
