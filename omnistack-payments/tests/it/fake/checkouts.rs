//! Tests of checkouts and of the pages of the fake.

use std::collections::BTreeMap;

use omnistack_core::{
    clock::Timestamp,
    payment::{
        CheckoutKind, CheckoutStatus, NewCheckout, PaymentProvider as _, PaymentStatus, ProviderSubscriptionStatus,
        TrialEndBehavior,
    },
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{DAY, FakeApp, money, path_of, start};

const SUCCESS: &str = "https://app.example.com/paid";
const CANCEL: &str = "https://app.example.com/plans";

fn plan(trial_end: Option<Timestamp>) -> CheckoutKind {
    CheckoutKind::Subscription {
        price: "pro:2900:USD:month".into(),
        quantity: 2,
        trial_end,
        trial_end_behavior: None,
        coupon: None,
    }
}

async fn new_checkout(fake: &FakeApp, reference: &str, kind: CheckoutKind) -> NewCheckout {
    NewCheckout {
        reference: reference.into(),
        customer: fake.customer(reference).await,
        kind,
        success_url: SUCCESS.into(),
        cancel_url: CANCEL.into(),
        expires_at: fake.app.clock().clock().now() + DAY,
        metadata: BTreeMap::new(),
        idempotency_key: format!("checkout-{reference}"),
    }
}

on_each_database! {
    async fn a_customer_subscribes_on_the_page(database: TestDatabase) {
        let fake = start(database).await;
        let new = new_checkout(&fake, "tenant", plan(None)).await;
        let checkout = fake.provider.create_checkout(&new).await.unwrap();
        assert_eq!(fake.provider.create_checkout(&new).await.unwrap(), checkout);
        let url = checkout.url.unwrap();
        let page = fake.app.anonymous().get(path_of(&url)).await.expect_ok();
        assert!(page.text().contains("Subscribe for 58.00 USD"), "{}", page.text());
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("form-action 'self' https://app.example.com"), "{policy}");

        let canceled = fake.submit(&url, &[("action", "cancel")]).await.expect(303);
        assert_eq!(canceled.header("location"), Some(CANCEL));
        for action in ["decline", "pay"] {
            let declined = fake.submit(&url, &[("action", action), ("card", "tok_declined")]).await.expect(402);
            assert!(declined.text().contains("declined"), "{}", declined.text());
        }
        assert_eq!(fake.provider.find_subscription("tenant").await.unwrap(), None);

        let paid = fake.submit(&url, &[("action", "pay"), ("card", "tok_ok")]).await.expect(303);
        assert_eq!(paid.header("location"), Some(SUCCESS));
        let checkout = fake.provider.checkout(&checkout.id).await.unwrap();
        let subscription = fake.provider.find_subscription("tenant").await.unwrap().unwrap();
        assert_eq!((checkout.status, checkout.url), (CheckoutStatus::Complete, None));
        assert_eq!(checkout.subscription.as_ref(), Some(&subscription.id));
        assert_eq!((subscription.status, subscription.items[0].quantity), (ProviderSubscriptionStatus::Active, 2));
        let invoices = fake.provider.invoices(&new.customer, 10).await.unwrap();
        assert_eq!(invoices.iter().map(|invoice| invoice.paid).collect::<Vec<_>>(), [money("58.00")]);
        assert_eq!(fake.provider.charges("tenant").await.unwrap(), 1);

        fake.submit(&url, &[("action", "pay"), ("card", "tok_ok")]).await.expect_error(409, "FAKE_PAYMENTS_REJECTED");
        assert_eq!(fake.provider.charges("tenant").await.unwrap(), 1);
        fake.app.anonymous().get(path_of(&url)).await.expect(410);
    }

    async fn access_is_not_given_before_the_payment_is_confirmed(database: TestDatabase) {
        let fake = start(database).await;
        let new = new_checkout(&fake, "tenant", plan(None)).await;
        let checkout = fake.provider.create_checkout(&new).await.unwrap();
        let waiting = fake.bank.pay_checkout(&checkout.id, "tok_3ds").await.unwrap().unwrap();
        let subscription = fake.provider.find_subscription("tenant").await.unwrap().unwrap();
        assert_eq!(subscription.status, ProviderSubscriptionStatus::Incomplete);
        assert_eq!(fake.provider.checkout(&checkout.id).await.unwrap().status, CheckoutStatus::Open);

        // The payer fails, and pays with another card.
        fake.bank.authenticate_payment(&waiting, false).await.unwrap();
        let waiting = fake.bank.pay_checkout(&checkout.id, "tok_3ds").await.unwrap().unwrap();
        // An hour before the subscription would end.
        fake.advance(22 * DAY / 24).await;
        fake.bank.authenticate_payment(&waiting, true).await.unwrap();
        let subscription = fake.provider.find_subscription("tenant").await.unwrap().unwrap();
        assert_eq!(subscription.status, ProviderSubscriptionStatus::Active);
        assert_eq!(fake.provider.checkout(&checkout.id).await.unwrap().status, CheckoutStatus::Complete);
        assert_eq!(fake.provider.charges("tenant").await.unwrap(), 1);
    }

    async fn a_first_payment_that_is_not_made_in_time_ends_the_subscription(database: TestDatabase) {
        let fake = start(database).await;
        let new = new_checkout(&fake, "tenant", plan(None)).await;
        let checkout = fake.provider.create_checkout(&new).await.unwrap();
        fake.bank.pay_checkout(&checkout.id, "tok_3ds").await.unwrap().unwrap();
        fake.advance(23 * DAY / 24).await;
        let subscription = fake.provider.find_subscription("tenant").await.unwrap().unwrap();
        assert_eq!(subscription.status, ProviderSubscriptionStatus::IncompleteExpired);
        fake.advance(DAY).await;
        assert_eq!(fake.provider.checkout(&checkout.id).await.unwrap().status, CheckoutStatus::Expired);
        assert!(fake.bank.pay_checkout(&checkout.id, "tok_ok").await.is_err());
        assert_eq!(fake.provider.charges("tenant").await.unwrap(), 0);
    }

    async fn a_trial_and_a_single_payment_are_checked_out_too(database: TestDatabase) {
        let fake = start(database).await;
        let end = fake.app.clock().clock().now() + 14 * DAY;
        let new = new_checkout(&fake, "trial", plan(Some(end))).await;
        let trial = fake.provider.create_checkout(&new).await.unwrap();
        assert_eq!(fake.bank.pay_checkout(&trial.id, "tok_ok").await.unwrap(), None);
        let subscription = fake.provider.find_subscription("trial").await.unwrap().unwrap();
        assert_eq!((subscription.status, subscription.trial_end), (ProviderSubscriptionStatus::Trialing, Some(end)));
        assert_eq!(fake.provider.charges("trial").await.unwrap(), 0);

        let kind = CheckoutKind::Payment { amount: money("10.00"), description: "<b>Credits</b>".into() };
        let new = new_checkout(&fake, "credits", kind).await;
        let checkout = fake.provider.create_checkout(&new).await.unwrap();
        let page = fake.app.anonymous().get(path_of(&checkout.url.unwrap())).await.expect_ok();
        assert!(page.text().contains("&lt;b&gt;Credits"), "{}", page.text());
        fake.bank.pay_checkout(&checkout.id, "tok_ok").await.unwrap();
        let payment = fake.provider.find_payment("credits").await.unwrap().unwrap();
        assert_eq!((payment.status, payment.captured), (PaymentStatus::Succeeded, money("10.00")));
        let checkout = fake.provider.checkout(&checkout.id).await.unwrap();
        assert_eq!(checkout.payment, Some(payment.id));
        assert!(fake.provider.expire_checkout(&checkout.id).await.is_err());

        let new = new_checkout(&fake, "method", CheckoutKind::PaymentMethod).await;
        let checkout = fake.provider.create_checkout(&new).await.unwrap();
        fake.bank.pay_checkout(&checkout.id, "tok_ok").await.unwrap();
        let methods = fake.provider.payment_methods(&new.customer).await.unwrap();
        assert_eq!(methods.iter().map(|method| method.label.as_str()).collect::<Vec<_>>(), ["Test card …4242"]);
    }

    async fn a_trial_begins_without_a_card_if_the_plan_allows_it(database: TestDatabase) {
        use ProviderSubscriptionStatus::{Canceled, PastDue, Paused, Trialing};
        let fake = start(database).await;
        let end = fake.app.clock().clock().now() + 14 * DAY;
        let new = new_checkout(&fake, "card", plan(Some(end))).await;
        let url = fake.provider.create_checkout(&new).await.unwrap().url.unwrap();
        let page = fake.app.anonymous().get(path_of(&url)).await.expect_ok();
        assert!(!page.text().contains("without a card"), "{}", page.text());
        fake.submit(&url, &[("action", "without_card")]).await.expect_error(409, "FAKE_PAYMENTS_REJECTED");

        let mut ended = Vec::new();
        for (behavior, expected) in [
            (TrialEndBehavior::Pause, Paused),
            (TrialEndBehavior::Cancel, Canceled),
            (TrialEndBehavior::CreateInvoice, PastDue),
        ] {
            let mut kind = plan(Some(end));
            let CheckoutKind::Subscription { trial_end_behavior, .. } = &mut kind else { unreachable!() };
            *trial_end_behavior = Some(behavior);
            let new = new_checkout(&fake, behavior.as_str(), kind).await;
            let url = fake.provider.create_checkout(&new).await.unwrap().url.unwrap();
            let page = fake.app.anonymous().get(path_of(&url)).await.expect_ok();
            assert!(page.text().contains("Start the trial without a card"), "{}", page.text());
            let begun = fake.submit(&url, &[("action", "without_card")]).await.expect(303);
            assert_eq!(begun.header("location"), Some(SUCCESS));
            fake.submit(&url, &[("action", "without_card")]).await.expect_error(409, "FAKE_PAYMENTS_REJECTED");
            let subscription = fake.provider.find_subscription(behavior.as_str()).await.unwrap().unwrap();
            assert_eq!(subscription.status, Trialing);
            assert!(fake.provider.payment_methods(&new.customer).await.unwrap().is_empty());
            ended.push((subscription.id, expected));
        }
        fake.app.clock().advance(14 * DAY);
        fake.bank.advance(end).await.unwrap();
        for (id, expected) in ended {
            assert_eq!(fake.provider.subscription(&id).await.unwrap().status, expected);
        }
    }

    async fn customers_manage_their_cards_and_subscriptions_on_a_page(database: TestDatabase) {
        let fake = start(database).await;
        let customer = fake.customer_with("tenant", "tok_ok").await;
        let new = crate::fake::subscription("tenant", &customer, "pro:2900:USD:month");
        let subscription = fake.provider.create_subscription(&new).await.unwrap();
        let url = fake.provider.create_portal(&customer, "https://app.example.com/").await.unwrap();
        let id = subscription.id.as_str();
        for form in [
            vec![("action", "add_card"), ("card", "tok_3ds")],
            vec![("action", "quantity"), ("subscription", id), ("quantity", "4")],
            vec![("action", "cancel"), ("subscription", id)],
        ] {
            fake.submit(&url, &form).await.expect(303);
        }
        let page = fake.app.anonymous().get(path_of(&url)).await.expect_ok().text();
        for part in ["Test card …3155", "ends on 1 February 2030", "value=\"4\"", "pro:2900:USD:month, active"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let changed = fake.provider.subscription(id).await.unwrap();
        assert_eq!((changed.items[0].quantity, changed.cancel_at), (4, subscription.period.map(|(_, end)| end)));
        fake.submit(&url, &[("action", "resume"), ("subscription", id)]).await.expect(303);
        assert_eq!(fake.provider.subscription(id).await.unwrap().cancel_at, None);
        for quantity in ["0", "1000000001", "18446744073709551615", "18446744073709551616", "-1", "x"] {
            let form = [("action", "quantity"), ("subscription", id), ("quantity", quantity)];
            fake.submit(&url, &form).await.expect_error(409, "FAKE_PAYMENTS_REJECTED");
        }
        fake.submit(&url, &[("action", "cancel"), ("subscription", "%00")]).await.expect(404);
        let other = fake.customer("other").await;
        let other = fake.provider.create_portal(&other, "https://app.example.com/").await.unwrap();
        fake.submit(&other, &[("action", "cancel"), ("subscription", id)]).await.expect(404);
    }
}
