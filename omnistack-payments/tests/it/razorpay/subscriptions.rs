//! Subscriptions. Section 3 of the facts: states, invoices that stay unpaid, and a finite number of periods.

use omnistack_core::payment::{
    CancelTime, ChangeTime, CheckoutKind, CheckoutStatus, DiscountDuration, DiscountReduction, NewCheckout,
    ProviderInvoiceStatus, ProviderSubscriptionStatus, SubscriptionChange, SubscriptionDiscount, TrialEndBehavior,
};

use super::*;

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn checkout(test: &RazorpayTest, reference: &str, trial: Option<Duration>) -> NewCheckout {
    let now = test.clock.clock().now();
    NewCheckout {
        reference: reference.to_owned(),
        customer: "cust_tenant".to_owned(),
        kind: CheckoutKind::Subscription {
            price: "plan_pro".to_owned(),
            quantity: 2,
            trial_end: trial.map(|trial| now + trial),
            trial_end_behavior: Some(TrialEndBehavior::Pause),
            coupon: Some("offer_1".to_owned()),
        },
        success_url: "https://app.example/ok".to_owned(),
        cancel_url: "https://app.example/back".to_owned(),
        expires_at: now + Duration::from_secs(3600),
        metadata: BTreeMap::new(),
        idempotency_key: format!("{reference}:1"),
    }
}

async fn start() -> RazorpayTest {
    let test = RazorpayTest::start().await;
    test.server.add_plan("plan_pro", 290_000, "INR", "monthly");
    test.server.add_plan("plan_max", 990_000, "INR", "yearly");
    test
}

/// Returns the id of an active subscription.
async fn subscribe(test: &RazorpayTest, reference: &str) -> String {
    let open = test.provider.create_checkout(&checkout(test, reference, None)).await.unwrap();
    test.server.authorise(&open.id);
    open.id
}

#[tokio::test]
async fn a_subscription_is_authorised_and_charged() {
    let test = start().await;
    let open = test.provider.create_checkout(&checkout(&test, "sub_ref", None)).await.unwrap();
    assert_eq!((open.status, open.subscription.clone()), (CheckoutStatus::Open, None));
    assert!(open.url.is_some(), "{open:?}");
    let stored = test.server.object(&open.id).unwrap();
    assert_eq!((&stored["total_count"], &stored["offer_id"]), (&json!(120), &json!("offer_1")));
    let subscription = test.provider.subscription(&open.id).await.unwrap();
    assert_eq!(subscription.status, ProviderSubscriptionStatus::Incomplete);
    // The same reference again is the same subscription.
    let again = test.provider.create_checkout(&checkout(&test, "sub_ref", None)).await.unwrap();
    assert_eq!(again.id, open.id);

    test.server.authorise(&open.id);
    let complete = test.provider.checkout(&open.id).await.unwrap();
    assert_eq!((complete.status, complete.subscription), (CheckoutStatus::Complete, Some(open.id.clone())));
    // By the first payment, a duplicate is refunded.
    let first = complete.payment.unwrap();
    let paid = test.provider.payment(&first).await.unwrap();
    assert_eq!((paid.status, paid.captured.to_string()), (PaymentStatus::Succeeded, "5800.00 INR".to_owned()));
    let subscription = test.provider.subscription(&open.id).await.unwrap();
    assert_eq!(subscription.status, ProviderSubscriptionStatus::Active);
    assert_eq!((subscription.reference.as_deref(), &*subscription.customer), (Some("sub_ref"), "cust_tenant"));
    assert_eq!((subscription.items[0].quantity, subscription.cancel_at), (2, None));
    let (start, end) = subscription.period.unwrap();
    assert_eq!(end.duration_since(start), DAY * 30);
    let charged = test.event("subscription.charged").unwrap();
    assert_eq!(charged.object, ProviderEventObject::Subscription(open.id.clone()));
    assert_eq!(charged.reference.as_deref(), Some("sub_ref"));

    let paid = test.event("invoice.paid").unwrap();
    let ProviderEventObject::Invoice { id, subscription } = &paid.object else { panic!("{paid:?}") };
    assert_eq!(subscription.as_deref(), Some(open.id.as_str()));
    let invoice = test.provider.invoice(id).await.unwrap();
    assert_eq!((invoice.status, invoice.total.to_string()), (ProviderInvoiceStatus::Paid, "5800.00 INR".to_owned()));
    let customer = test.server.object(&open.id).unwrap()["customer_id"].as_str().unwrap().to_owned();
    assert_eq!(test.provider.invoices(&customer, 5).await.unwrap(), [invoice]);
    assert!(matches!(test.provider.expire_checkout(&open.id).await, Err(PaymentError::Rejected { .. })));
}

/// Razorpay's API does not state the amount of an offer, so the discount is read from payments.
#[tokio::test]
async fn a_payment_shows_what_an_offer_takes_off() {
    let test = start().await;
    test.server.add_offer("offer_1", 20, Some(2));
    let open = test.provider.create_checkout(&checkout(&test, "sub_ref", Some(DAY))).await.unwrap();
    test.server.authorise(&open.id);
    let discounts = async || test.provider.subscription(&open.id).await.unwrap().discounts;
    let forever = |reduction| SubscriptionDiscount { reduction, duration: DiscountDuration::Forever };
    let rupees = |amount| DiscountReduction::Amount(Money::parse(amount, "INR").unwrap());
    assert_eq!(discounts().await, [forever(DiscountReduction::Unknown)]);
    test.clock.advance(DAY);
    // The price of two units is 5800.00. The offer ends after two periods.
    for expected in [vec![forever(rupees("1160.00"))], vec![forever(rupees("1160.00"))], vec![]] {
        let invoice = test.provider.invoice(&test.server.charge(&open.id)).await.unwrap();
        let paid = if expected.is_empty() { "5800.00 INR" } else { "4640.00 INR" };
        assert_eq!(invoice.paid.to_string(), paid);
        assert_eq!(discounts().await, expected);
    }
    assert!(test.provider.find_subscription("sub_ref").await.unwrap().unwrap().discounts.is_empty());

    // The subscription has no payment for three units yet.
    test.server.patch_subscription(&open.id, &json!({ "quantity": 3 }));
    assert_eq!(discounts().await, [forever(DiscountReduction::Unknown)]);
    test.server.add_offer("offer_1", 10, None);
    test.server.charge(&open.id);
    assert_eq!(discounts().await, [forever(rupees("870.00"))]);
    let canceled = test.provider.cancel_subscription(&open.id, CancelTime::PeriodEnd, "cancel").await.unwrap();
    assert_eq!(canceled.discounts, [forever(rupees("870.00"))]);

    let path = format!("DELETE /v1/subscriptions/{}/offer_1", open.id);
    test.server.fail_next(&path, RazorpayFault::LostResponse);
    assert!(matches!(test.provider.remove_coupon(&open.id, "key").await, Err(PaymentError::Unknown { .. })));
    assert!(test.provider.remove_coupon(&open.id, "key").await.unwrap().discounts.is_empty());
}

#[tokio::test]
async fn each_state_has_its_status() {
    let test = start().await;
    let id = subscribe(&test, "sub_ref").await;
    for (state, expected, is_paused) in [
        ("pending", ProviderSubscriptionStatus::PastDue, false),
        ("halted", ProviderSubscriptionStatus::Unpaid, false),
        ("active", ProviderSubscriptionStatus::Active, false),
        ("paused", ProviderSubscriptionStatus::Active, true),
        ("cancelled", ProviderSubscriptionStatus::Canceled, false),
        ("completed", ProviderSubscriptionStatus::Canceled, false),
        ("expired", ProviderSubscriptionStatus::IncompleteExpired, false),
        ("authenticated", ProviderSubscriptionStatus::Incomplete, false),
    ] {
        test.server.patch_subscription(&id, &json!({ "status": state }));
        let subscription = test.provider.subscription(&id).await.unwrap();
        assert_eq!((subscription.status, subscription.collection_paused), (expected, is_paused), "{state}");
    }
    // The customer pauses the payments at the bank.
    test.server.patch_subscription(&id, &json!({ "status": "paused", "pause_initiated_by": "customer" }));
    let paused = test.provider.subscription(&id).await.unwrap();
    assert_eq!((paused.status, paused.collection_paused), (ProviderSubscriptionStatus::Paused, true));
    test.server.patch_subscription(&id, &json!({ "status": "new state" }));
    assert!(matches!(test.provider.subscription(&id).await, Err(PaymentError::Unavailable { .. })));
}

#[tokio::test]
async fn a_trial_is_a_later_start() {
    let test = start().await;
    let open = test.provider.create_checkout(&checkout(&test, "sub_ref", Some(DAY * 14))).await.unwrap();
    test.server.authorise(&open.id);
    let subscription = test.provider.subscription(&open.id).await.unwrap();
    let end = test.clock.clock().now() + DAY * 14;
    assert_eq!((subscription.status, subscription.trial_end), (ProviderSubscriptionStatus::Trialing, Some(end)));
    assert_eq!(subscription.period.unwrap().1, end);
    test.clock.advance(DAY * 14);
    test.server.charge(&open.id);
    let subscription = test.provider.subscription(&open.id).await.unwrap();
    assert_eq!((subscription.status, subscription.trial_end), (ProviderSubscriptionStatus::Active, None));
}

/// A subscription would be complete after its last period.
#[tokio::test]
async fn a_subscription_near_its_last_period_gets_further_ones() {
    let test = start().await;
    let id = subscribe(&test, "sub_ref").await;
    test.server.patch_subscription(&id, &json!({ "remaining_count": 2, "total_count": 3 }));
    // Razorpay may refuse it: the subscription goes on as it is.
    let refusal = json!({ "error": { "code": "BAD_REQUEST_ERROR", "description": "The mandate has an end" } });
    test.server.fail_next("GET /v1/plans/plan_pro", RazorpayFault::Response(400, refusal));
    test.provider.subscription(&id).await.unwrap();
    assert_eq!(test.server.object(&id).unwrap()["remaining_count"], 2);
    let subscription = test.provider.subscription(&id).await.unwrap();
    assert_eq!((subscription.status, subscription.cancel_at), (ProviderSubscriptionStatus::Active, None));
    assert_eq!(test.server.object(&id).unwrap()["remaining_count"], 120);
    let requests = test.server.requests();
    assert_eq!(requests.iter().filter(|request| request.method == "PATCH").count(), 1);
    // One that is canceled at the end of its period gets none.
    test.provider.cancel_subscription(&id, CancelTime::PeriodEnd, "cancel").await.unwrap();
    test.server.patch_subscription(&id, &json!({ "remaining_count": 1 }));
    test.provider.subscription(&id).await.unwrap();
    assert_eq!(test.server.object(&id).unwrap()["remaining_count"], 1);
}

#[tokio::test]
async fn a_change_is_made_at_the_end_of_the_period() {
    let test = start().await;
    let id = subscribe(&test, "sub_ref").await;
    let change = |when| SubscriptionChange {
        price: "plan_max".to_owned(),
        quantity: 3,
        when,
        return_url: None,
        idempotency_key: "change".to_owned(),
    };
    let (_, end) = test.provider.subscription(&id).await.unwrap().period.unwrap();
    let preview = test.provider.preview_change(&id, &change(ChangeTime::PeriodEnd)).await.unwrap();
    assert_eq!((preview.due_now, preview.effective_at), (None, end));
    assert_eq!(preview.next, Some(Money::parse("29700.00", "INR").unwrap()));

    let changed = test.provider.change_subscription(&id, &change(ChangeTime::PeriodEnd)).await.unwrap();
    let (item, at) = changed.pending_change.unwrap();
    assert_eq!((&*item.price, item.quantity, at), ("plan_max", 3, end));
    assert_eq!(&*changed.items[0].price, "plan_pro");
    test.server.charge(&id);
    let changed = test.provider.subscription(&id).await.unwrap();
    assert_eq!((&*changed.items[0].price, changed.pending_change), ("plan_max", None));
}

#[tokio::test]
async fn a_change_is_made_now_once() {
    let test = start().await;
    let id = subscribe(&test, "sub_ref").await;
    let change = |when| SubscriptionChange {
        price: "plan_max".to_owned(),
        quantity: 3,
        when,
        return_url: None,
        idempotency_key: "change".to_owned(),
    };
    let at = test.clock.clock().now();
    let now = ChangeTime::Now { proration_at: at };
    let preview = test.provider.preview_change(&id, &change(now)).await.unwrap();
    assert_eq!((preview.due_now, preview.effective_at), (None, at));
    // A planned change would undo it at the end of the period.
    test.provider.change_subscription(&id, &change(ChangeTime::PeriodEnd)).await.unwrap();
    let updates = || test.server.requests().iter().filter(|request| request.method == "PATCH").count();
    test.server.fail_next(&format!("PATCH /v1/subscriptions/{id}"), RazorpayFault::LostResponse);
    let error = test.provider.change_subscription(&id, &change(now)).await.unwrap_err();
    assert!(matches!(error, PaymentError::Unknown { .. }), "{error}");
    let changed = test.provider.change_subscription(&id, &change(now)).await.unwrap();
    assert_eq!((&*changed.items[0].price, changed.items[0].quantity), ("plan_max", 3));
    assert_eq!((changed.pending_change, updates()), (None, 2));
    let requests = test.server.requests();
    let last = requests.iter().rfind(|request| request.method == "PATCH").unwrap();
    assert_eq!(last.body["schedule_change_at"], "now");

    // Only cards can be charged by another amount.
    test.server.patch_subscription(&id, &json!({ "payment_method": "upi", "plan_id": "plan_pro" }));
    for when in [now, ChangeTime::PeriodEnd] {
        let error = test.provider.change_subscription(&id, &change(when)).await.unwrap_err();
        assert!(error.to_string().contains("paid by upi"), "{error}");
    }
    assert_eq!(updates(), 2);
}

#[tokio::test]
async fn a_subscription_is_canceled_paused_and_resumed() {
    let test = start().await;
    let id = subscribe(&test, "sub_ref").await;
    for key in ["pause-1", "pause-2"] {
        assert!(test.provider.pause_subscription(&id, key).await.unwrap().collection_paused);
    }
    assert!(!test.provider.resume_subscription(&id, "resume").await.unwrap().collection_paused);
    let (_, end) = test.provider.subscription(&id).await.unwrap().period.unwrap();
    for key in ["cancel-1", "cancel-2"] {
        let canceled = test.provider.cancel_subscription(&id, CancelTime::PeriodEnd, key).await.unwrap();
        assert_eq!((canceled.status, canceled.cancel_at), (ProviderSubscriptionStatus::Active, Some(end)));
    }
    assert_eq!(test.provider.subscription(&id).await.unwrap().cancel_at, Some(end));
    let error = test.provider.resume_subscription(&id, "resume").await.unwrap_err();
    assert!(matches!(error, PaymentError::NotSupported { .. }), "{error}");
    let ended = test.provider.cancel_subscription(&id, CancelTime::Now, "now").await.unwrap();
    assert_eq!((ended.status, ended.ended_at), (ProviderSubscriptionStatus::Canceled, Some(test.clock.clock().now())));

    // An open page is closed. A subscription without a paid period ends at once.
    let open = test.provider.create_checkout(&checkout(&test, "sub_2", None)).await.unwrap();
    test.provider.expire_checkout(&open.id).await.unwrap();
    assert_eq!(test.provider.checkout(&open.id).await.unwrap().status, CheckoutStatus::Expired);
    let trial = test.provider.create_checkout(&checkout(&test, "sub_3", Some(DAY))).await.unwrap();
    test.server.authorise(&trial.id);
    let canceled = test.provider.cancel_subscription(&trial.id, CancelTime::PeriodEnd, "cancel").await.unwrap();
    assert_eq!(canceled.status, ProviderSubscriptionStatus::Canceled);
}

#[tokio::test]
async fn a_subscription_is_found_by_its_reference() {
    let test = start().await;
    let new = checkout(&test, "sub_lost", None);
    test.server.fail_next("POST /v1/subscriptions", RazorpayFault::LostResponse);
    assert!(matches!(test.provider.create_checkout(&new).await, Err(PaymentError::Unavailable { .. })));
    let open = test.provider.create_checkout(&new).await.unwrap();
    for number in 0..105 {
        test.provider.create_checkout(&checkout(&test, &format!("sub_{number}"), None)).await.unwrap();
    }
    let found = test.provider.find_subscription("sub_lost").await.unwrap().unwrap();
    assert_eq!(found.id, open.id);
    assert!(test.provider.find_subscription("sub_104").await.unwrap().is_some());
    assert_eq!(test.provider.find_subscription("sub_none").await.unwrap(), None);
}
