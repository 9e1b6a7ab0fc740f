//! Subscriptions. Section 2 of the facts: money arrives with sales, a created subscription is not paid, and a change
//! waits for the customer and the next period.

use omnistack_core::payment::{
    CancelTime, ChangeTime, CheckoutKind, CheckoutStatus, NewCheckout, NewRefund, PaymentStatus, ProviderInvoiceStatus,
    ProviderSubscriptionStatus, RefundStatus, SubscriptionChange, TrialEndBehavior,
};

use super::*;

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn checkout(test: &PayPalTest, reference: &str, trial: Option<Duration>) -> NewCheckout {
    let now = test.clock.clock().now();
    NewCheckout {
        reference: reference.to_owned(),
        customer: "customer".to_owned(),
        kind: CheckoutKind::Subscription {
            price: "P-PRO".to_owned(),
            quantity: 2,
            trial_end: trial.map(|trial| now + trial),
            trial_end_behavior: Some(TrialEndBehavior::Pause),
            coupon: None,
        },
        success_url: "https://app.example/ok".to_owned(),
        cancel_url: "https://app.example/back".to_owned(),
        expires_at: now + Duration::from_secs(3600),
        metadata: BTreeMap::new(),
        idempotency_key: format!("{reference}:1"),
    }
}

async fn start() -> PayPalTest {
    let test = PayPalTest::start().await;
    test.server.add_plan("P-PRO", "29.00", "USD");
    test.server.add_plan("P-MAX", "99.00", "USD");
    test
}

/// Returns the id of an active subscription.
async fn subscribe(test: &PayPalTest, reference: &str) -> String {
    let open = test.provider.create_checkout(&checkout(test, reference, None)).await.unwrap();
    test.server.approve(&open.id);
    open.id
}

#[tokio::test]
async fn a_subscription_is_paid_by_sales_and_not_before_it_is_active() {
    let test = start().await;
    let open = test.provider.create_checkout(&checkout(&test, "sub_1", None)).await.unwrap();
    assert_eq!((open.status, open.subscription.clone()), (CheckoutStatus::Open, None));
    let created = test.event("BILLING.SUBSCRIPTION.CREATED").unwrap();
    assert_eq!(created.object, ProviderEventObject::Subscription(open.id.clone()));
    let subscription = test.provider.subscription(&open.id).await.unwrap();
    assert_eq!(subscription.status, ProviderSubscriptionStatus::Incomplete);
    assert!(matches!(test.provider.expire_checkout(&open.id).await, Err(PaymentError::NotSupported { .. })));

    test.server.approve(&open.id);
    let complete = test.provider.checkout(&open.id).await.unwrap();
    assert_eq!((complete.status, complete.subscription), (CheckoutStatus::Complete, Some(open.id.clone())));
    let subscription = test.provider.subscription(&open.id).await.unwrap();
    assert_eq!(subscription.status, ProviderSubscriptionStatus::Active);
    assert_eq!((subscription.reference.as_deref(), &*subscription.customer), (Some("sub_1"), "customer"));
    assert_eq!((&*subscription.items[0].price, subscription.items[0].quantity), ("P-PRO", 2));
    let (start, end) = subscription.period.unwrap();
    assert_eq!(end.duration_since(start), DAY * 30);

    let sale = test.event("PAYMENT.SALE.COMPLETED").unwrap();
    let ProviderEventObject::Invoice { id, subscription: of } = &sale.object else { panic!("{sale:?}") };
    assert_eq!((of.as_deref(), sale.reference.as_deref()), (Some(&*open.id), Some("sub_1")));
    let invoice = test.provider.invoice(id).await.unwrap();
    assert_eq!((invoice.status, invoice.total.to_string()), (ProviderInvoiceStatus::Paid, "58.00 USD".to_owned()));
    let payment = test.provider.payment(id).await.unwrap();
    assert_eq!((payment.status, payment.subscription), (PaymentStatus::Succeeded, Some(open.id.clone())));

    let refund = NewRefund {
        reference: "ref_1".to_owned(),
        amount: payment.amount,
        reason: None,
        idempotency_key: "ref_1".to_owned(),
    };
    test.provider.refund_payment(id, &refund).await.unwrap();
    let refunded = test.event("PAYMENT.SALE.REFUNDED").unwrap();
    assert_eq!(refunded.object.root(), id);
    assert_eq!(test.provider.payment(id).await.unwrap().refunded, payment.amount);
    assert!(matches!(test.provider.invoice("other").await, Err(PaymentError::NotFound { .. })));
}

/// A sale does not state the sum of its refunds, and PayPal lists them hours later.
#[tokio::test]
async fn a_payment_of_a_subscription_is_refunded_in_parts() {
    let test = start().await;
    subscribe(&test, "sub_1").await;
    let sale = test.event("PAYMENT.SALE.COMPLETED").unwrap();
    let ProviderEventObject::Invoice { id, .. } = &sale.object else { panic!("{sale:?}") };
    let refund = |reference: &str, amount: &str| NewRefund {
        reference: reference.to_owned(),
        amount: Money::parse(amount, "USD").unwrap(),
        reason: None,
        idempotency_key: reference.to_owned(),
    };
    assert!(test.provider.refunds(id).await.unwrap().is_empty());
    for (reference, amount, sum) in [("ref_1", "8.00", "8.00 USD"), ("ref_2", "10.50", "18.50 USD")] {
        let new = refund(reference, amount);
        let made = test.provider.refund_payment(id, &new).await.unwrap();
        assert_eq!((made.status, made.amount), (RefundStatus::Succeeded, new.amount));
        // The same key is the same refund.
        assert_eq!(test.provider.refund_payment(id, &new).await.unwrap().id, made.id);
        // The sum is not known before the newest refund is listed, so it must be asked for again.
        assert!(matches!(test.provider.payment(id).await, Err(PaymentError::Unavailable { .. })), "{reference}");
        assert_eq!(test.provider.invoice(id).await.unwrap().status, ProviderInvoiceStatus::Paid);
        test.clock.advance(Duration::from_secs(3 * 60 * 60));
        assert_eq!(test.provider.payment(id).await.unwrap().refunded.to_string(), sum);
    }
    let references: Vec<_> = test.provider.refunds(id).await.unwrap().into_iter().map(|one| one.reference).collect();
    assert_eq!(references, [Some("ref_1".to_owned()), Some("ref_2".to_owned())]);
    let error = test.provider.refund_payment(id, &refund("ref_3", "39.51")).await.unwrap_err();
    assert!(matches!(error, PaymentError::Rejected { .. }), "{error}");
    // After the last part, the whole payment is refunded.
    test.provider.refund_payment(id, &refund("ref_4", "39.50")).await.unwrap();
    assert_eq!(test.provider.payment(id).await.unwrap().refunded.to_string(), "58.00 USD");
}

/// An app at PayPal may lack the permission to search transactions.
#[tokio::test]
async fn a_refund_of_a_part_is_not_counted_without_the_list_of_transactions() {
    let test = start().await;
    subscribe(&test, "sub_1").await;
    let sale = test.event("PAYMENT.SALE.COMPLETED").unwrap();
    let ProviderEventObject::Invoice { id, .. } = &sale.object else { panic!("{sale:?}") };
    let amount = Money::parse("8.00", "USD").unwrap();
    let key = "ref_1".to_owned();
    let new = NewRefund { reference: key.clone(), amount, reason: None, idempotency_key: key };
    test.provider.refund_payment(id, &new).await.unwrap();
    let refusal = json!({ "name": "NOT_AUTHORIZED", "message": "Authorization failed" });
    test.server.fail_next("GET /v1/reporting/transactions", PayPalFault::Response(403, refusal));
    assert_eq!(test.provider.payment(id).await.unwrap().refunded.minor(), 0);
}

/// A dispute can send a part back, which is no refund in the list of transactions.
#[tokio::test]
async fn a_part_that_is_never_listed_does_not_make_a_payment_unreadable() {
    let test = start().await;
    subscribe(&test, "sub_1").await;
    let sale = test.event("PAYMENT.SALE.COMPLETED").unwrap();
    let ProviderEventObject::Invoice { id, .. } = &sale.object else { panic!("{sale:?}") };
    let amount = Money::parse("8.00", "USD").unwrap();
    let key = "ref_1".to_owned();
    let new = NewRefund { reference: key.clone(), amount, reason: None, idempotency_key: key };
    test.provider.refund_payment(id, &new).await.unwrap();
    let list = "GET /v1/reporting/transactions";
    for (hours, body, expected) in [
        (5, json!({ "transaction_details": [], "total_pages": 0 }), None),
        (4, json!({}), None),
        (0, json!({ "transaction_details": [], "total_pages": 0 }), Some(0)),
    ] {
        test.clock.advance(Duration::from_secs(hours * 60 * 60));
        test.server.fail_next(list, PayPalFault::Response(200, body));
        let refunded = test.provider.payment(id).await.ok().map(|payment| payment.refunded.minor());
        assert_eq!(refunded, expected, "{hours}");
    }
}

#[tokio::test]
async fn a_trial_is_a_later_start() {
    let test = start().await;
    let open = test.provider.create_checkout(&checkout(&test, "sub_1", Some(DAY * 14))).await.unwrap();
    test.server.approve(&open.id);
    let subscription = test.provider.subscription(&open.id).await.unwrap();
    assert_eq!(subscription.status, ProviderSubscriptionStatus::Trialing);
    assert_eq!(subscription.trial_end, Some(test.clock.clock().now() + DAY * 14));
    assert_eq!(test.server.charges("sub_1"), 0);
    test.clock.advance(DAY * 14);
    test.server.renew(&open.id);
    let subscription = test.provider.subscription(&open.id).await.unwrap();
    assert_eq!((subscription.status, subscription.trial_end), (ProviderSubscriptionStatus::Active, None));
}

#[tokio::test]
async fn failed_payments_lead_to_unpaid() {
    let test = start().await;
    let id = subscribe(&test, "sub_1").await;
    for expected in
        [ProviderSubscriptionStatus::PastDue, ProviderSubscriptionStatus::PastDue, ProviderSubscriptionStatus::Unpaid]
    {
        test.server.fail_renewal(&id);
        let event = test.event("BILLING.SUBSCRIPTION.PAYMENT.FAILED").unwrap();
        assert_eq!(event.object, ProviderEventObject::Subscription(id.clone()));
        let subscription = test.provider.subscription(&id).await.unwrap();
        assert_eq!((subscription.status, subscription.collection_paused), (expected, false));
    }
}

#[tokio::test]
async fn a_change_is_shown_for_the_next_period_and_waits_for_the_customer() {
    let test = start().await;
    let id = subscribe(&test, "sub_1").await;
    let change = |when| SubscriptionChange {
        price: "P-MAX".to_owned(),
        quantity: 3,
        when,
        return_url: Some("https://app.example/plan".to_owned()),
        idempotency_key: "change".to_owned(),
    };
    let now = ChangeTime::Now { proration_at: test.clock.clock().now() };
    let (_, end) = test.provider.subscription(&id).await.unwrap().period.unwrap();
    let preview = test.provider.preview_change(&id, &change(now)).await.unwrap();
    assert_eq!((preview.due_now, preview.effective_at), (None, end));
    assert_eq!(preview.next, Some(Money::parse("297.00", "USD").unwrap()));
    // An upgrade is the same: PayPal changes nothing without the customer, and charges no difference.
    for when in [now, ChangeTime::PeriodEnd] {
        let changed = test.provider.change_subscription(&id, &change(when)).await.unwrap();
        let (item, _) = changed.pending_change.clone().unwrap();
        assert_eq!((&*item.price, item.quantity, &*changed.items[0].price), ("P-MAX", 3, "P-PRO"));
        assert_eq!(item.id, "P-MAX");
        let page = changed.action_url.as_deref();
        assert!(page.is_some_and(|url| url.starts_with("https://")), "{page:?}");
    }
    assert_eq!(test.server.charges("sub_1"), 1);
    test.server.approve_change(&id);
    let changed = test.provider.subscription(&id).await.unwrap();
    assert_eq!((&*changed.items[0].price, changed.items[0].quantity), ("P-MAX", 3));
    assert_eq!((changed.pending_change, changed.action_url), (None, None));
    assert_eq!(test.server.charges("sub_1"), 1);
}

#[tokio::test]
async fn a_subscription_is_canceled_at_the_end_of_its_period_or_now() {
    let test = start().await;
    let id = subscribe(&test, "sub_1").await;
    let (_, end) = test.provider.subscription(&id).await.unwrap().period.unwrap();
    for key in ["cancel-1", "cancel-2"] {
        let canceled = test.provider.cancel_subscription(&id, CancelTime::PeriodEnd, key).await.unwrap();
        assert_eq!(canceled.status, ProviderSubscriptionStatus::Active);
        assert_eq!((canceled.cancel_at, canceled.collection_paused), (Some(end), false));
    }
    let resumed = test.provider.resume_subscription(&id, "resume").await.unwrap();
    assert_eq!((resumed.status, resumed.cancel_at), (ProviderSubscriptionStatus::Active, None));
    assert_eq!((resumed.reference.as_deref(), &*resumed.customer), (Some("sub_1"), "customer"));

    // The suspension is first: whatever becomes of the date, no further period is charged.
    test.server.fail_next(&format!("POST /v1/billing/subscriptions/{id}/suspend"), PayPalFault::LostResponse);
    let error = test.provider.cancel_subscription(&id, CancelTime::PeriodEnd, "cancel-3").await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    assert_eq!(test.server.object(&id).unwrap()["status"], "SUSPENDED");
    test.provider.cancel_subscription(&id, CancelTime::PeriodEnd, "cancel-3").await.unwrap();
    test.clock.advance(DAY * 31);
    let ended = test.provider.subscription(&id).await.unwrap();
    assert_eq!((ended.status, ended.ended_at), (ProviderSubscriptionStatus::Canceled, Some(end)));

    // The date is lost: the subscription still ends, and is not kept as one that is paused.
    let third = subscribe(&test, "sub_3").await;
    let (_, end) = test.provider.subscription(&third).await.unwrap().period.unwrap();
    test.server.fail_next(&format!("PATCH /v1/billing/subscriptions/{third}"), PayPalFault::LostRequest);
    let error = test.provider.cancel_subscription(&third, CancelTime::PeriodEnd, "cancel").await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    let planned = test.provider.subscription(&third).await.unwrap();
    assert_eq!((planned.cancel_at, planned.collection_paused), (Some(end), false));
    test.clock.advance(DAY * 31);
    let ended = test.provider.subscription(&third).await.unwrap();
    assert_eq!((ended.status, ended.ended_at), (ProviderSubscriptionStatus::Canceled, Some(end)));

    let other = subscribe(&test, "sub_2").await;
    let canceled = test.provider.cancel_subscription(&other, CancelTime::Now, "cancel").await.unwrap();
    assert_eq!(canceled.status, ProviderSubscriptionStatus::Canceled);
    // Final: the same again changes nothing.
    test.provider.cancel_subscription(&other, CancelTime::Now, "again").await.unwrap();
}

#[tokio::test]
async fn a_subscription_is_paused_and_resumed() {
    let test = start().await;
    let id = subscribe(&test, "sub_1").await;
    for key in ["pause-1", "pause-2"] {
        let paused = test.provider.pause_subscription(&id, key).await.unwrap();
        assert!(paused.collection_paused && paused.status == ProviderSubscriptionStatus::Active, "{paused:?}");
    }
    let resumed = test.provider.resume_subscription(&id, "resume").await.unwrap();
    assert!(!resumed.collection_paused, "{resumed:?}");
}

#[tokio::test]
async fn a_subscription_is_found_by_its_reference() {
    let test = start().await;
    let mut ids = Vec::new();
    for number in 0..25 {
        ids.push(subscribe(&test, &format!("sub_{number}")).await);
    }
    for number in [0, 24] {
        let found = test.provider.find_subscription(&format!("sub_{number}")).await.unwrap().unwrap();
        assert_eq!(found.id, ids[number]);
    }
    assert_eq!(test.provider.find_subscription("sub_99").await.unwrap(), None);
    // A lost response created a page that no customer sees; the same key finds it.
    test.server.fail_next("POST /v1/billing/subscriptions", PayPalFault::LostResponse);
    let new = checkout(&test, "sub_lost", None);
    assert!(matches!(test.provider.create_checkout(&new).await, Err(PaymentError::Unavailable { .. })));
    let open = test.provider.create_checkout(&new).await.unwrap();
    let found = test.provider.find_subscription("sub_lost").await.unwrap().unwrap();
    assert_eq!(found.id, open.id);
}
