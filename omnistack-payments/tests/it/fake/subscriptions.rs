//! Tests of subscriptions at the fake, by the clock of the app.

use omnistack_core::{
    clock::Timestamp,
    payment::{
        CancelTime, ChangeTime, DiscountDuration, DiscountReduction, PaymentError, PaymentProvider as _, PaymentStatus,
        ProviderInvoiceStatus, ProviderSubscription, ProviderSubscriptionStatus as Status, SubscriptionChange,
        SubscriptionDiscount, TrialEndBehavior,
    },
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{DAY, FakeApp, money, start, subscription};

const PRO: &str = "pro:2900:USD:month";
const TEAM: &str = "team:9900:USD:month";

async fn subscribe(fake: &FakeApp, card: &str) -> ProviderSubscription {
    let customer = fake.customer_with("tenant", card).await;
    fake.provider.create_subscription(&subscription("tenant", &customer, PRO)).await.unwrap()
}

fn change(price: &str, when: ChangeTime) -> SubscriptionChange {
    SubscriptionChange {
        price: price.into(),
        quantity: 1,
        when,
        return_url: None,
        idempotency_key: format!("change-{price}-{when:?}"),
    }
}

fn now(fake: &FakeApp) -> Timestamp {
    fake.app.clock().clock().now()
}

/// Returns the statuses of the invoices of a customer, sorted, with their totals.
async fn invoices(fake: &FakeApp, customer: &str) -> Vec<(String, ProviderInvoiceStatus)> {
    let found = fake.provider.invoices(customer, 100).await.unwrap();
    let mut found: Vec<_> = found.into_iter().map(|invoice| (invoice.total.amount(), invoice.status)).collect();
    found.sort_by_key(|(total, status)| (total.clone(), format!("{status:?}")));
    found
}

on_each_database! {
    async fn a_subscription_renews_by_the_clock_of_the_app(database: TestDatabase) {
        let fake = start(database).await;
        let first = subscribe(&fake, "tok_ok").await;
        assert_eq!(first.status, Status::Active);
        fake.advance(90 * DAY).await;
        let renewed = fake.provider.subscription(&first.id).await.unwrap();
        let boundary = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(renewed.period, Some((boundary("2030-04-01T00:00:00Z"), boundary("2030-05-01T00:00:00Z"))));
        assert!(renewed.version > first.version);
        assert_eq!(fake.provider.charges("tenant").await.unwrap(), 4);
        let paid = ("29.00".to_owned(), ProviderInvoiceStatus::Paid);
        assert_eq!(invoices(&fake, &first.customer).await, vec![paid; 4]);
    }

    async fn a_failed_renewal_is_attempted_again_and_ends_the_subscription(database: TestDatabase) {
        let fake = start(database).await;
        let first = subscribe(&fake, "tok_fails_on_renewal").await;
        assert_eq!(first.status, Status::Active);
        fake.advance(31 * DAY).await;
        for (days, attempts, status) in
            [(0_u32, 1, Status::PastDue), (3, 2, Status::PastDue), (5, 3, Status::PastDue), (7, 4, Status::Canceled)]
        {
            fake.advance(days * DAY).await;
            let found = fake.provider.subscription(&first.id).await.unwrap();
            let invoice = fake.provider.invoice(&found.latest_invoice.unwrap()).await.unwrap();
            assert_eq!((found.status, invoice.attempts), (status, attempts));
            assert_eq!(invoice.next_attempt_at.is_some(), status == Status::PastDue);
        }
        fake.advance(60 * DAY).await;
        assert_eq!(fake.provider.charges("tenant").await.unwrap(), 1);
    }

    async fn a_payment_with_another_card_ends_the_arrears(database: TestDatabase) {
        let fake = start(database).await;
        let first = subscribe(&fake, "tok_fails_on_renewal").await;
        fake.advance(32 * DAY).await;
        let due = fake.provider.subscription(&first.id).await.unwrap();
        assert_eq!(due.status, Status::PastDue);
        let invoice = due.latest_invoice.unwrap();
        assert_eq!(fake.bank.pay_invoice(&invoice, "tok_declined").await.unwrap(), PaymentStatus::Failed);
        assert_eq!(fake.bank.pay_invoice(&invoice, "tok_ok").await.unwrap(), PaymentStatus::Succeeded);
        assert!(fake.bank.pay_invoice(&invoice, "tok_ok").await.is_err());
        assert_eq!(fake.provider.subscription(&first.id).await.unwrap().status, Status::Active);
        fake.advance(60 * DAY).await;
        assert_eq!(fake.provider.charges("tenant").await.unwrap(), 4);
    }

    async fn a_coupon_reduces_invoices_until_it_is_removed(database: TestDatabase) {
        let fake = start(database).await;
        let customer = fake.customer_with("tenant", "tok_ok").await;
        let mut new = subscription("tenant", &customer, PRO);
        new.coupon = Some("WELCOME:20".to_owned());
        let reduced = fake.provider.create_subscription(&new).await.unwrap();
        let discount = SubscriptionDiscount {
            reduction: DiscountReduction::BasisPoints(2_000),
            duration: DiscountDuration::Forever,
        };
        assert_eq!(reduced.discounts, [discount]);
        fake.advance(31 * DAY).await;
        for _ in 0..2 {
            let plain = fake.provider.remove_coupon(&reduced.id, "remove").await.unwrap();
            assert_eq!(plain.discounts, []);
        }
        fake.advance(31 * DAY).await;
        let amounts: Vec<_> = invoices(&fake, &customer).await.into_iter().map(|(amount, _)| amount).collect();
        assert_eq!(amounts, ["23.20", "23.20", "29.00"]);
        new.reference = "other".to_owned();
        new.idempotency_key = "other".to_owned();
        new.coupon = Some("WELCOME".to_owned());
        assert!(matches!(fake.provider.create_subscription(&new).await, Err(PaymentError::Rejected { .. })));
    }

    async fn trials_end_as_they_were_agreed(database: TestDatabase) {
        let fake = start(database).await;
        let end = now(&fake) + 14 * DAY;
        for (card, behavior, expected, charges) in [
            (None, TrialEndBehavior::Pause, Status::Paused, 0),
            (None, TrialEndBehavior::Cancel, Status::Canceled, 0),
            (None, TrialEndBehavior::CreateInvoice, Status::PastDue, 0),
            (Some("tok_ok"), TrialEndBehavior::Pause, Status::Active, 1),
            (Some("tok_fails_on_renewal"), TrialEndBehavior::Pause, Status::PastDue, 0),
        ] {
            let reference = format!("{behavior:?}-{card:?}");
            let customer = match card {
                Some(card) => fake.customer_with(&reference, card).await,
                None => fake.customer(&reference).await,
            };
            let mut new = subscription(&reference, &customer, PRO);
            new.trial_end = Some(end);
            new.trial_end_behavior = behavior;
            let id = fake.provider.create_subscription(&new).await.unwrap().id;
            assert_eq!(fake.provider.subscription(&id).await.unwrap().status, Status::Trialing);
            fake.bank.advance(end).await.unwrap();
            assert_eq!(fake.provider.subscription(&id).await.unwrap().status, expected, "{reference}");
            assert_eq!(fake.provider.charges(&reference).await.unwrap(), charges, "{reference}");
        }
    }

    async fn an_upgrade_takes_effect_when_its_difference_is_paid(database: TestDatabase) {
        let fake = start(database).await;
        let first = subscribe(&fake, "tok_ok").await;
        fake.app.clock().advance(31 * DAY / 2);
        let when = ChangeTime::Now { proration_at: now(&fake) };
        let preview = fake.provider.preview_change(&first.id, &change(TEAM, when)).await.unwrap();
        assert_eq!((preview.due_now, preview.next), (Some(money("35.00")), Some(money("99.00"))));
        // The customer decides a while later, and pays what was shown.
        fake.app.clock().advance(DAY);
        let changed = fake.provider.change_subscription(&first.id, &change(TEAM, when)).await.unwrap();
        assert_eq!((changed.items[0].price.as_str(), changed.pending_change), (TEAM, None));
        let paid = ProviderInvoiceStatus::Paid;
        assert_eq!(invoices(&fake, &first.customer).await, [("29.00".to_owned(), paid), ("35.00".to_owned(), paid)]);
        // A downgrade gives credit, which the next invoice uses.
        let when = ChangeTime::Now { proration_at: now(&fake) };
        let back = fake.provider.change_subscription(&first.id, &change(PRO, when)).await.unwrap();
        assert_eq!(back.items[0].price, PRO);
        fake.advance(15 * DAY).await;
        let third = fake.provider.subscription(&first.id).await.unwrap().latest_invoice.unwrap();
        assert_eq!(fake.provider.invoice(&third).await.unwrap().total, money("0.00"));
    }

    async fn an_unpaid_upgrade_leaves_the_plan_as_it_was(database: TestDatabase) {
        let fake = start(database).await;
        let first = subscribe(&fake, "tok_ok").await;
        for (pays, expected) in [(false, PRO), (true, TEAM)] {
            fake.customer_with("tenant", "tok_declined").await;
            let when = ChangeTime::Now { proration_at: now(&fake) };
            let changed = fake.provider.change_subscription(&first.id, &change(TEAM, when)).await.unwrap();
            assert_eq!((changed.status, changed.items[0].price.as_str()), (Status::Active, PRO));
            assert_eq!(changed.pending_change.unwrap().0.price, TEAM);
            if pays {
                fake.bank.pay_invoice(&changed.latest_invoice.unwrap(), "tok_ok").await.unwrap();
            }
            fake.advance(DAY).await;
            let later = fake.provider.subscription(&first.id).await.unwrap();
            assert_eq!((later.items[0].price.as_str(), later.pending_change), (expected, None));
            let open = invoices(&fake, &first.customer).await;
            assert!(open.iter().all(|(_, status)| *status != ProviderInvoiceStatus::Open), "{open:?}");
        }
    }

    async fn planned_changes_happen_at_the_end_of_the_period(database: TestDatabase) {
        let fake = start(database).await;
        let first = subscribe(&fake, "tok_ok").await;
        let planned = change("basic:900:USD:month", ChangeTime::PeriodEnd);
        let preview = fake.provider.preview_change(&first.id, &planned).await.unwrap();
        assert_eq!((preview.due_now, Some(preview.effective_at)), (None, first.period.map(|(_, end)| end)));
        assert_eq!(fake.provider.change_subscription(&first.id, &planned).await.unwrap().items[0].price, PRO);
        fake.advance(31 * DAY).await;
        let renewed = fake.provider.subscription(&first.id).await.unwrap();
        assert_eq!(renewed.items[0].price, "basic:900:USD:month");

        let canceled = fake.provider.cancel_subscription(&first.id, CancelTime::PeriodEnd, "cancel").await.unwrap();
        assert_eq!((canceled.status, canceled.cancel_at), (Status::Active, renewed.period.map(|(_, end)| end)));
        assert_eq!(fake.provider.resume_subscription(&first.id, "resume").await.unwrap().cancel_at, None);
        fake.provider.cancel_subscription(&first.id, CancelTime::PeriodEnd, "again").await.unwrap();
        fake.advance(28 * DAY).await;
        let ended = fake.provider.subscription(&first.id).await.unwrap();
        assert_eq!((ended.status, ended.ended_at), (Status::Canceled, canceled.cancel_at));
        assert!(fake.provider.resume_subscription(&first.id, "late").await.is_err());
        assert_eq!(fake.provider.charges("tenant").await.unwrap(), 2);
    }

    async fn a_pause_skips_invoices_and_a_cancellation_makes_open_ones_void(database: TestDatabase) {
        let fake = start(database).await;
        let first = subscribe(&fake, "tok_fails_on_renewal").await;
        let paused = fake.provider.pause_subscription(&first.id, "pause").await.unwrap();
        assert_eq!((paused.status, paused.collection_paused), (Status::Active, true));
        fake.advance(31 * DAY).await;
        assert_eq!(invoices(&fake, &first.customer).await.len(), 1);
        assert!(!fake.provider.resume_subscription(&first.id, "resume").await.unwrap().collection_paused);
        fake.advance(28 * DAY).await;
        assert_eq!(fake.provider.subscription(&first.id).await.unwrap().status, Status::PastDue);
        fake.provider.cancel_subscription(&first.id, CancelTime::Now, "cancel").await.unwrap();
        let statuses: Vec<_> = invoices(&fake, &first.customer).await.into_iter().map(|(_, status)| status).collect();
        assert_eq!(statuses, [ProviderInvoiceStatus::Paid, ProviderInvoiceStatus::Void]);
    }
}
