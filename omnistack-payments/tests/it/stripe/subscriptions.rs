//! Tests of subscriptions and their invoices.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::payment::{
    CancelTime, ChangeTime, DiscountDuration, DiscountReduction, NewProviderSubscription, PaymentError,
    ProviderInvoiceStatus, ProviderSubscriptionStatus, SubscriptionChange, SubscriptionDiscount, TrialEndBehavior,
};
use omnistack_testkit::payments::stripe::StripeFault;
use serde_json::{Value, json};

use super::{Stripe, usd};

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn subscription(reference: &str, customer: &str) -> NewProviderSubscription {
    NewProviderSubscription {
        reference: reference.to_owned(),
        customer: customer.to_owned(),
        price: "price_basic".to_owned(),
        quantity: 1,
        trial_end: None,
        trial_end_behavior: TrialEndBehavior::Cancel,
        coupon: None,
        metadata: BTreeMap::from([("tenant_id".to_owned(), "t1".to_owned())]),
        idempotency_key: format!("subscription-{reference}"),
    }
}

fn change(price: &str, when: ChangeTime, key: &str) -> SubscriptionChange {
    SubscriptionChange { price: price.to_owned(), quantity: 1, when, return_url: None, idempotency_key: key.to_owned() }
}

#[tokio::test]
async fn a_subscription_is_paid_renewed_and_canceled() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer_with_card("t1", "visa").await;
    let new = subscription("s1", &customer);
    let active = stripe.provider.create_subscription(&new).await.unwrap();
    assert_eq!((active.status, active.reference.as_deref()), (ProviderSubscriptionStatus::Active, Some("s1")));
    assert_eq!(active.period, Some((stripe.now(), stripe.now() + 30 * DAY)));
    assert_eq!(stripe.provider.create_subscription(&new).await.unwrap().id, active.id);
    assert_eq!(stripe.provider.find_subscription("s1").await.unwrap().unwrap().id, active.id);
    assert_eq!(stripe.provider.find_subscription("s2").await.unwrap(), None);

    let invoice = stripe.provider.invoice(active.latest_invoice.as_deref().unwrap()).await.unwrap();
    assert_eq!((invoice.status, invoice.total, invoice.paid), (ProviderInvoiceStatus::Paid, usd(2900), usd(2900)));
    assert_eq!((invoice.subscription.as_deref(), invoice.period), (Some(active.id.as_str()), active.period));

    stripe.clock.advance(30 * DAY);
    stripe.server.renew(&active.id);
    let invoices = stripe.provider.invoices(&customer, 10).await.unwrap();
    assert_eq!(invoices.len(), 2);
    assert_eq!(invoices[1].id, invoice.id);
    assert_eq!(stripe.provider.invoices(&customer, 1).await.unwrap().len(), 1);

    // The payment of an invoice knows its subscription.
    let payments: Vec<String> = stripe
        .server
        .events()
        .iter()
        .filter(|event| event["type"] == "payment_intent.succeeded")
        .filter_map(|event| event["data"]["object"]["id"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(payments.len(), 2);
    for payment in payments {
        let payment = stripe.provider.payment(&payment).await.unwrap();
        assert_eq!(payment.subscription.as_deref(), Some(active.id.as_str()));
    }

    for _ in 0..2 {
        let canceled = stripe.provider.cancel_subscription(&active.id, CancelTime::Now, "cancel").await.unwrap();
        assert_eq!(canceled.status, ProviderSubscriptionStatus::Canceled);
        assert_eq!(canceled.ended_at, Some(stripe.now()));
    }
}

#[tokio::test]
async fn a_coupon_is_given_and_removed() {
    let stripe = Stripe::start().await;
    let end = stripe.now() + 90 * DAY;
    stripe.server.add_object(json!({
        "id": "di_WELCOME", "object": "discount", "end": end.as_seconds(), "source": { "coupon": "WELCOME" },
    }));
    stripe.server.add_object(json!({
        "id": "WELCOME", "object": "coupon", "percent_off": 12.5, "duration": "repeating", "duration_in_months": 3,
    }));
    let customer = stripe.customer_with_card("t1", "visa").await;
    let plain = stripe.provider.create_subscription(&subscription("s1", &customer)).await.unwrap();
    assert_eq!(stripe.provider.subscription(&plain.id).await.unwrap().discounts, []);
    let new = NewProviderSubscription { coupon: Some("WELCOME".to_owned()), ..subscription("s2", &customer) };
    let reduced = stripe.provider.create_subscription(&new).await.unwrap();
    // The response to a change names the discount only.
    let of = |reduction, duration| [SubscriptionDiscount { reduction, duration }];
    assert_eq!(reduced.discounts, of(DiscountReduction::Unknown, DiscountDuration::Forever));
    let stated = of(DiscountReduction::BasisPoints(1_250), DiscountDuration::Until(end));
    let read = async || stripe.provider.subscription(&reduced.id).await;
    assert_eq!(read().await.unwrap().discounts, stated);
    // The subscription is answered, and the request for its discounts is not.
    let fail_second = |status: u16| {
        let named = stripe.server.object(&reduced.id).unwrap();
        stripe.server.fail_next(&reduced.id, StripeFault::Response(200, named));
        let body = json!({ "error": { "type": "invalid_request_error", "message": "no" } });
        stripe.server.fail_next(&reduced.id, StripeFault::Response(status, body));
    };
    fail_second(403);
    assert_eq!(read().await.unwrap().discounts, reduced.discounts);
    fail_second(429);
    assert!(matches!(read().await, Err(PaymentError::Unavailable { .. })));
    for _ in 0..2 {
        assert_eq!(stripe.provider.remove_coupon(&reduced.id, "remove").await.unwrap().discounts, []);
    }
    assert_eq!(read().await.unwrap().discounts, []);
}

#[tokio::test]
async fn a_lost_cancellation_is_seen() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer_with_card("t1", "visa").await;
    let active = stripe.provider.create_subscription(&subscription("s1", &customer)).await.unwrap();
    stripe.server.fail_next(&active.id, StripeFault::LostResponse);
    let canceled = stripe.provider.cancel_subscription(&active.id, CancelTime::Now, "cancel").await.unwrap();
    assert_eq!(canceled.status, ProviderSubscriptionStatus::Canceled);
}

#[tokio::test]
async fn a_declined_first_payment_leaves_it_incomplete() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer_with_card("t1", "chargeDeclined").await;
    let incomplete = stripe.provider.create_subscription(&subscription("s1", &customer)).await.unwrap();
    assert_eq!(incomplete.status, ProviderSubscriptionStatus::Incomplete);
    let invoice = stripe.provider.invoice(incomplete.latest_invoice.as_deref().unwrap()).await.unwrap();
    assert_eq!((invoice.status, invoice.paid, invoice.attempts), (ProviderInvoiceStatus::Open, usd(0), 1));
    assert!(invoice.next_attempt_at.is_some());
}

#[tokio::test]
async fn a_trial_costs_nothing_and_says_what_follows() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer("t1").await;
    let mut new = subscription("s1", &customer);
    new.trial_end = Some(stripe.now() + 14 * DAY);
    let trial = stripe.provider.create_subscription(&new).await.unwrap();
    assert_eq!((trial.status, trial.trial_end), (ProviderSubscriptionStatus::Trialing, new.trial_end));
    let object = stripe.server.object(&trial.id).unwrap();
    assert_eq!(object["trial_settings"]["end_behavior"]["missing_payment_method"], "cancel");
    assert_eq!(object["metadata"]["tenant_id"], "t1");
    // The trial ends without a payment method: Stripe pauses the subscription, which is no pause of the collection.
    stripe.server.patch(&trial.id, json!({ "status": "paused" }));
    let paused = stripe.provider.subscription(&trial.id).await.unwrap();
    assert_eq!((paused.status, paused.collection_paused), (ProviderSubscriptionStatus::Paused, false));
    let resumed = stripe.provider.resume_subscription(&trial.id, "resume").await.unwrap();
    assert_eq!(resumed.status, ProviderSubscriptionStatus::Active);
}

// Case 6.
#[tokio::test]
async fn a_planned_cancellation_is_seen_and_taken_back_in_all_its_forms() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer_with_card("t1", "visa").await;
    let active = stripe.provider.create_subscription(&subscription("s1", &customer)).await.unwrap();
    let end = active.period.unwrap().1;
    let date = stripe.now() + 9 * DAY;
    for (number, fields, expected) in [
        (1, json!({ "cancel_at_period_end": false, "cancel_at": null }), None),
        (2, json!({ "cancel_at_period_end": true, "cancel_at": null }), Some(end)),
        (3, json!({ "cancel_at_period_end": false, "cancel_at": date.as_seconds() }), Some(date)),
        (4, json!({ "cancel_at_period_end": true, "cancel_at": end.as_seconds() }), Some(end)),
        (5, json!({ "cancel_at_period_end": true, "cancel_at": date.as_seconds() }), Some(date)),
    ] {
        stripe.server.patch(&active.id, fields.clone());
        assert_eq!(stripe.provider.subscription(&active.id).await.unwrap().cancel_at, expected, "{fields}");
        let resumed = stripe.provider.resume_subscription(&active.id, &format!("resume-{number}")).await.unwrap();
        assert_eq!(resumed.cancel_at, None, "{fields}");
        assert_eq!(stripe.server.object(&active.id).unwrap()["cancel_at_period_end"], false, "{fields}");
    }
    let planned = stripe.provider.cancel_subscription(&active.id, CancelTime::PeriodEnd, "cancel").await.unwrap();
    assert_eq!((planned.cancel_at, planned.status), (Some(end), ProviderSubscriptionStatus::Active));
}

#[tokio::test]
async fn the_collection_of_payments_is_paused() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer_with_card("t1", "visa").await;
    let active = stripe.provider.create_subscription(&subscription("s1", &customer)).await.unwrap();
    let paused = stripe.provider.pause_subscription(&active.id, "pause").await.unwrap();
    assert_eq!((paused.status, paused.collection_paused), (ProviderSubscriptionStatus::Active, true));
    let resumed = stripe.provider.resume_subscription(&active.id, "resume").await.unwrap();
    assert!(!resumed.collection_paused);
}

#[tokio::test]
async fn an_upgrade_costs_what_its_preview_says() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer_with_card("t1", "visa").await;
    let active = stripe.provider.create_subscription(&subscription("s1", &customer)).await.unwrap();
    stripe.clock.advance(15 * DAY);
    let proration_at = stripe.now();
    let upgrade = change("price_pro", ChangeTime::Now { proration_at }, "upgrade");
    let preview = stripe.provider.preview_change(&active.id, &upgrade).await.unwrap();
    assert_eq!((preview.due_now, preview.next), (Some(usd(3500)), Some(usd(9900))));
    assert_eq!((preview.proration_at, preview.effective_at), (proration_at, proration_at));
    assert_eq!(stripe.provider.subscription(&active.id).await.unwrap(), active);

    // Later, the customer still pays what was shown.
    stripe.clock.advance(Duration::from_secs(600));
    let changed = stripe.provider.change_subscription(&active.id, &upgrade).await.unwrap();
    assert_eq!((changed.items[0].price.as_str(), changed.pending_change), ("price_pro", None));
    let invoice = stripe.provider.invoice(changed.latest_invoice.as_deref().unwrap()).await.unwrap();
    assert_eq!((invoice.status, Some(invoice.paid)), (ProviderInvoiceStatus::Paid, preview.due_now));
}

// Case 7: the provider's part.
#[tokio::test]
async fn an_upgrade_that_is_not_paid_waits() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer_with_card("t1", "visa").await;
    let active = stripe.provider.create_subscription(&subscription("s1", &customer)).await.unwrap();
    let methods = stripe.provider.payment_methods(&customer).await.unwrap();
    let declining = json!({ "metadata": { "test_card": "pm_card_threeDSecure2Required" } });
    stripe.server.patch(&methods[0].id, declining);
    let upgrade = change("price_pro", ChangeTime::Now { proration_at: stripe.now() }, "upgrade");
    let waiting = stripe.provider.change_subscription(&active.id, &upgrade).await.unwrap();
    assert_eq!(waiting.items[0].price, "price_basic");
    let (item, expires_at) = waiting.pending_change.clone().unwrap();
    assert_eq!((item.price.as_str(), expires_at), ("price_pro", stripe.now() + Duration::from_secs(23 * 3600)));
    let sent: Vec<Value> = stripe.server.requests().into_iter().map(|request| request.form).collect();
    let behaviors: Vec<_> = sent.iter().filter_map(|form| form["payment_behavior"].as_str()).collect();
    assert_eq!(behaviors, ["allow_incomplete", "pending_if_incomplete"]);

    let invoice = waiting.latest_invoice.unwrap();
    let payments = stripe.server.events();
    let created = payments.iter().filter(|event| event["data"]["object"]["id"] == invoice.as_str()).count();
    assert!(created > 0);
    stripe.server.patch(&active.id, json!({ "pending_update": null }));
    let abandoned = stripe.provider.subscription(&active.id).await.unwrap();
    assert_eq!((abandoned.items[0].price.as_str(), abandoned.pending_change), ("price_basic", None));
}

#[tokio::test]
async fn a_downgrade_takes_effect_at_the_end_of_the_period() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer_with_card("t1", "visa").await;
    let mut new = subscription("s1", &customer);
    new.price = "price_pro".to_owned();
    let active = stripe.provider.create_subscription(&new).await.unwrap();
    stripe.server.patch(&active.id, json!({ "discounts": ["di_1"] }));
    let (start, end) = active.period.unwrap();
    let downgrade = change("price_basic", ChangeTime::PeriodEnd, "downgrade");
    let preview = stripe.provider.preview_change(&active.id, &downgrade).await.unwrap();
    assert_eq!((preview.due_now, preview.next, preview.effective_at), (None, Some(usd(2900)), end));
    for _ in 0..2 {
        let changed = stripe.provider.change_subscription(&active.id, &downgrade).await.unwrap();
        assert_eq!(changed.items, active.items);
    }
    let schedule = stripe.server.object(&active.id).unwrap()["schedule"].as_str().unwrap().to_owned();
    let phases = stripe.server.object(&schedule).unwrap()["phases"].clone();
    let seconds = |at: omnistack_core::clock::Timestamp| at.as_seconds().to_string();
    assert_eq!((&phases[0]["start_date"], &phases[0]["end_date"]), (&json!(seconds(start)), &json!(seconds(end))));
    let prices = (&phases[0]["items"][0]["price"], &phases[1]["items"][0]["price"]);
    assert_eq!(prices, (&json!("price_pro"), &json!("price_basic")));
    // The discount stays in both phases.
    for phase in phases.as_array().unwrap() {
        assert_eq!(phase["discounts"], json!([{ "discount": "di_1" }]));
    }

    // A planned change does not hinder a cancellation.
    let canceled = stripe.provider.cancel_subscription(&active.id, CancelTime::PeriodEnd, "cancel").await.unwrap();
    assert_eq!(canceled.cancel_at, Some(end));
    assert!(stripe.server.object(&active.id).unwrap()["schedule"].is_null());
}

#[tokio::test]
async fn a_planned_change_ends_no_trial_and_states_no_quantity_of_usage() {
    let stripe = Stripe::start().await;
    let customer = stripe.customer("t1").await;
    let mut new = subscription("s1", &customer);
    new.price = "price_pro".to_owned();
    new.trial_end = Some(stripe.now() + 14 * DAY);
    let trial = stripe.provider.create_subscription(&new).await.unwrap();
    let mut items = stripe.server.object(&trial.id).unwrap()["items"].clone();
    let metered = json!({ "id": "si_usage", "price": { "id": "price_basic" }, "quantity": null });
    items["data"].as_array_mut().unwrap().push(metered);
    stripe.server.patch(&trial.id, json!({ "items": items }));
    let downgrade = change("price_basic", ChangeTime::PeriodEnd, "downgrade");
    stripe.provider.change_subscription(&trial.id, &downgrade).await.unwrap();
    let schedule = stripe.server.object(&trial.id).unwrap()["schedule"].as_str().unwrap().to_owned();
    let phases = stripe.server.object(&schedule).unwrap()["phases"].clone();
    assert_eq!(phases[0]["trial_end"], new.trial_end.unwrap().as_seconds().to_string());
    assert!(phases[1].get("trial_end").is_none(), "{phases}");
    assert_eq!(phases[1]["items"][1], json!({ "price": "price_basic" }));
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let stripe = Stripe::start().await;
    let missing = |object| Err(PaymentError::NotFound { object });
    assert_eq!(stripe.provider.subscription("sub_9").await.map(|_| ()), missing("subscription"));
    assert_eq!(stripe.provider.invoice("in_9").await.map(|_| ()), missing("invoice"));
    assert_eq!(stripe.provider.payment("pi_9").await.map(|_| ()), missing("payment"));
    assert_eq!(stripe.provider.payment("cs_9").await.map(|_| ()), missing("payment"));
    assert_eq!(stripe.provider.checkout("cs_9").await.map(|_| ()), missing("checkout"));
    let canceled = stripe.provider.cancel_subscription("sub_9", CancelTime::Now, "cancel").await;
    assert_eq!(canceled.map(|_| ()), missing("subscription"));
}
