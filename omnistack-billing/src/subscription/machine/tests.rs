use omnistack_core::{
    money::Currency,
    payment::{DiscountDuration, DiscountReduction},
};

use super::*;

const GRACE: Duration = Duration::from_hours(7 * 24);
const ALL: [Status; 8] = [
    Status::Incomplete,
    Status::IncompleteExpired,
    Status::Trialing,
    Status::Active,
    Status::PastDue,
    Status::Unpaid,
    Status::Paused,
    Status::Canceled,
];

fn at(hours: u64) -> Timestamp {
    let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    start + Duration::from_hours(hours)
}

fn terms(plan: &str, monthly_price: i64) -> SubscriptionTerms {
    SubscriptionTerms {
        plan: plan.to_owned(),
        version: 1,
        group: "main".to_owned(),
        interval: "month".to_owned(),
        quantity: 1,
        per_seat: false,
        monthly_price,
        currency: "USD".to_owned(),
    }
}

fn snapshot(status: Status) -> ProviderSnapshot {
    ProviderSnapshot {
        status,
        terms: Some(terms("pro", 2_900)),
        pending: None,
        period: Some((at(0), at(744))),
        renews_at: Some(at(744)),
        trial_end: None,
        cancel_at: None,
        ended_at: None,
        collection_paused: false,
        discounts: Vec::new(),
        invoice: None,
        version: None,
        can_return: false,
        charges_later: false,
    }
}

fn invoice(status: ProviderInvoiceStatus, created_at: Timestamp) -> LatestInvoice {
    LatestInvoice {
        id: format!("in_{}", created_at.as_seconds()),
        number: None,
        status,
        attempts: u32::from(status != ProviderInvoiceStatus::Paid),
        paid: Money::new(if status == ProviderInvoiceStatus::Paid { 2_900 } else { 0 }, Currency::USD),
        url: None,
        created_at,
    }
}

fn read(state: &SubscriptionState, snapshot: ProviderSnapshot) -> (SubscriptionState, Vec<SubscriptionEffect>) {
    step(state, &SubscriptionFact::Provider(Box::new(snapshot)), at(1), GRACE)
}

/// Returns a subscription in a status.
fn state(status: Status) -> SubscriptionState {
    read(&SubscriptionState::new(terms("pro", 2_900)), snapshot(status)).0
}

#[test]
fn every_status_follows_every_fact() {
    for from in ALL {
        let before = state(from);
        assert_eq!(before.status, from);
        assert_eq!(before.entitled, matches!(from, Status::Trialing | Status::Active | Status::PastDue), "{from:?}");
        for to in ALL {
            let (after, effects) = read(&before, snapshot(to));
            let what = format!("{from:?} to {to:?}");
            if from.is_final() {
                assert!(after == before && effects.is_empty(), "{what}");
                continue;
            }
            assert_eq!((after.status, after.ended_at.is_some()), (to, to.is_final()), "{what}");
            assert_eq!(after.entitled, state(to).entitled, "{what}");
            assert_eq!(after.mrr, state(to).mrr, "{what}");
            assert_eq!(after.is_payment_due(), after.past_due_since.is_some(), "{what}");
            assert_eq!(after.is_payment_due(), after.failed_payments > 0, "{what}");
            let has = |wanted: &SubscriptionEffect| effects.contains(wanted);
            assert_eq!(has(&SubscriptionEffect::AssignPlan), before.entitled != after.entitled, "{what}");
            let revenue = SubscriptionEffect::Revenue { before: before.mrr, after: after.mrr };
            assert_eq!(has(&revenue), before.mrr != after.mrr, "{what}");
            let ended = SubscriptionEffect::Notice(BillingNoticeKind::SubscriptionEnded);
            assert_eq!(has(&ended), to == Status::Canceled && before.has_begun, "{what}");
            let failed = SubscriptionEffect::Notice(BillingNoticeKind::PaymentFailed { grace_until: at(1) + GRACE });
            assert_eq!(has(&failed), after.is_payment_due() && !before.is_payment_due(), "{what}");
            // The same fact again changes nothing.
            assert_eq!(read(&after, snapshot(to)), (after, Vec::new()), "{what}");
        }
        let (gone, _) = step(&before, &SubscriptionFact::Gone, at(1), GRACE);
        assert!(gone.status.is_final() && !gone.entitled && gone.mrr == 0, "{from:?}");
        let (disputed, _) = step(&before, &SubscriptionFact::Disputes(1), at(1), GRACE);
        assert_eq!((disputed.status, disputed.entitled), (from, false));
        assert_eq!(step(&disputed, &SubscriptionFact::Disputes(0), at(1), GRACE).0, before);
        let (duplicate, effects) = step(&before, &SubscriptionFact::Duplicate, at(1), GRACE);
        assert!(!duplicate.entitled && duplicate.mrr == 0 && effects.contains(&SubscriptionEffect::EndDuplicate));
        assert_eq!(step(&duplicate, &SubscriptionFact::Duplicate, at(1), GRACE), (duplicate.clone(), Vec::new()));
        let (alone, effects) = step(&duplicate, &SubscriptionFact::DuplicateLeft, at(1), GRACE);
        assert_eq!((&alone, effects.contains(&SubscriptionEffect::AssignPlan)), (&before, before.entitled));
        let checked = SubscriptionFact::CardChecked { until: at(744), expires: Some((1, 2030)) };
        let (after, effects) = step(&before, &checked, at(1), GRACE);
        assert_eq!((after.card_checked_until, effects.len()), (Some(at(744)), 1));
        let change = Some(FutureTerms { terms: terms("free", 0), at: Some(at(744)), action_url: None });
        let (after, effects) = step(&before, &SubscriptionFact::Scheduled(change.clone()), at(1), GRACE);
        assert_eq!((after.scheduled, effects), (change, Vec::new()));
        let (after, effects) = step(&before, &SubscriptionFact::TimePassed, at(1), GRACE);
        assert_eq!((after, effects), (before, Vec::new()));
    }
}

#[test]
fn access_lasts_until_the_grace_ends() {
    let due = state(Status::PastDue);
    let until = at(1) + GRACE;
    assert_eq!(due.grace_until, Some(until));
    let second = Duration::from_secs(1);
    let (kept, effects) = step(&due, &SubscriptionFact::TimePassed, until - second, GRACE);
    assert!(kept.entitled && effects.is_empty());
    let (lost, effects) = step(&due, &SubscriptionFact::TimePassed, until, GRACE);
    assert!(!lost.entitled && effects == [SubscriptionEffect::AssignPlan]);
    // A second failure does not prolong it, and has no second notice.
    let mut again = snapshot(Status::PastDue);
    again.invoice = Some(LatestInvoice { attempts: 3, ..invoice(ProviderInvoiceStatus::Open, at(0)) });
    let (failed, effects) = step(&due, &SubscriptionFact::Provider(Box::new(again)), at(100), GRACE);
    assert_eq!((failed.grace_until, failed.failed_payments, effects.len()), (Some(until), 3, 0));
    let (paid, effects) = read(&lost, snapshot(Status::Active));
    assert_eq!((paid.entitled, paid.failed_payments, paid.grace_until), (true, 0, None));
    assert_eq!(effects, [SubscriptionEffect::AssignPlan]);
}

#[test]
fn a_plan_is_given_when_it_is_paid() {
    use ProviderInvoiceStatus::{Open, Paid, Uncollectible, Void};
    let before = state(Status::Active);
    for (status, invoice_status, created, plan) in [
        (Status::Active, Paid, 100, "team"),
        (Status::Active, Void, 100, "pro"),
        (Status::Active, Uncollectible, 100, "pro"),
        (Status::Active, Open, 100, "pro"),
        (Status::PastDue, Open, 100, "pro"),
        // The invoice of a renewal: the change was paid before.
        (Status::PastDue, Open, 0, "team"),
        (Status::Active, Open, 0, "team"),
    ] {
        let mut changed = snapshot(status);
        changed.terms = Some(terms("team", 9_900));
        changed.invoice = Some(invoice(invoice_status, at(created)));
        let (after, _) = read(&before, changed.clone());
        let what = format!("{status:?} {invoice_status:?} {created}");
        assert_eq!(after.terms.plan, plan, "{what}");
        assert_eq!(after.pending.is_some(), plan == "pro", "{what}");
        changed.invoice = Some(invoice(Paid, at(100)));
        changed.status = Status::Active;
        let (paid, _) = read(&after, changed);
        assert_eq!((paid.terms.plan.as_str(), paid.pending), ("team", None), "{what}");
    }
    // The price is changed while the renewal is not paid: the invoice is that of the old price.
    let mut due = snapshot(Status::PastDue);
    due.invoice = Some(invoice(Open, at(0)));
    let (failed, _) = read(&before, due.clone());
    due.terms = Some(terms("team", 9_900));
    let (after, _) = read(&failed, due);
    assert_eq!((after.terms.plan.as_str(), after.pending.unwrap().terms.plan.as_str()), ("pro", "team"));
    // What costs less needs no payment.
    let mut cheaper = snapshot(Status::PastDue);
    cheaper.terms = Some(terms("starter", 900));
    cheaper.invoice = Some(invoice(Open, at(100)));
    assert_eq!(read(&before, cheaper).0.terms.plan, "starter");
}

#[test]
fn a_change_that_is_charged_later_is_given_with_the_period_that_pays_for_it() {
    let changed = |plan: &str, monthly_price: i64, start: u64| ProviderSnapshot {
        terms: Some(terms(plan, monthly_price)),
        period: Some((at(start), at(start + 744))),
        renews_at: Some(at(start + 744)),
        charges_later: true,
        ..snapshot(Status::Active)
    };
    let change = Some(FutureTerms { terms: terms("team", 9_900), at: None, action_url: Some("page".to_owned()) });
    let (asked, _) = step(&state(Status::Active), &SubscriptionFact::Scheduled(change), at(1), GRACE);
    let (waits, _) = read(&asked, changed("pro", 2_900, 0));
    assert_eq!(waits.scheduled, asked.scheduled);
    let (confirmed, _) = read(&waits, changed("team", 9_900, 0));
    let pending = confirmed.pending.as_ref().map(|change| (change.terms.plan.as_str(), change.at));
    assert_eq!((confirmed.terms.plan.as_str(), pending), ("pro", Some(("team", Some(at(744))))));
    assert_eq!((&confirmed.scheduled, confirmed.mrr), (&None, 2_900));
    // The same again, however often, gives nothing.
    assert_eq!(read(&confirmed, changed("team", 9_900, 0)).0, confirmed);
    let (paid, _) = read(&confirmed, changed("team", 9_900, 744));
    assert_eq!((paid.terms.plan.as_str(), &paid.pending, paid.mrr), ("team", &None, 9_900));
    // Taken back before it is charged, it has given nothing.
    let back = Some(FutureTerms { terms: terms("pro", 2_900), at: Some(at(744)), action_url: Some("page".to_owned()) });
    let (asked, _) = step(&confirmed, &SubscriptionFact::Scheduled(back), at(1), GRACE);
    assert!(read(&asked, changed("team", 9_900, 0)).0.scheduled.is_some());
    let (left, _) = read(&asked, changed("pro", 2_900, 0));
    assert_eq!((left.terms.plan.as_str(), left.pending, left.scheduled), ("pro", None, None));
    // A trial costs nothing, whatever its plan is.
    let trial = ProviderSnapshot { status: Status::Trialing, ..changed("team", 9_900, 0) };
    assert_eq!(read(&state(Status::Trialing), trial).0.terms.plan, "team");
}

#[test]
fn a_pending_change_of_the_provider_gives_nothing() {
    let mut changed = snapshot(Status::Active);
    changed.pending = Some(FutureTerms { terms: terms("team", 9_900), at: Some(at(23)), action_url: None });
    let (pending, effects) = read(&state(Status::Active), changed);
    assert_eq!((pending.terms.plan.as_str(), effects.len()), ("pro", 0));
    assert_eq!(pending.pending.as_ref().unwrap().terms.plan, "team");
    let (abandoned, _) = read(&pending, snapshot(Status::Active));
    assert_eq!(abandoned, state(Status::Active));
}

#[test]
fn older_states_change_nothing() {
    let mut newer = snapshot(Status::Active);
    newer.version = Some(5);
    let (known, _) = read(&SubscriptionState::new(terms("pro", 2_900)), newer);
    for (version, status) in
        [(Some(4), Status::Active), (Some(5), Status::PastDue), (Some(6), Status::PastDue), (None, Status::PastDue)]
    {
        let mut other = snapshot(Status::PastDue);
        other.version = version;
        assert_eq!(read(&known, other).0.status, status, "{version:?}");
    }
}

#[test]
fn a_purchase_in_an_app_store_can_begin_again() {
    let ended = state(Status::Canceled);
    let mut renewed = snapshot(Status::Active);
    renewed.can_return = true;
    let (after, effects) = read(&ended, renewed);
    assert_eq!((after.status, after.entitled, after.ended_at), (Status::Active, true, None));
    assert!(effects.contains(&SubscriptionEffect::AssignPlan));
}

#[test]
fn a_trial_is_recorded_once_and_its_end_is_announced_once() {
    let trial = || ProviderSnapshot { trial_end: Some(at(14 * 24)), ..snapshot(Status::Trialing) };
    let (begun, effects) = read(&SubscriptionState::new(terms("pro", 2_900)), trial());
    assert_eq!(effects, [SubscriptionEffect::RecordTrial, SubscriptionEffect::AssignPlan]);
    assert!(step(&begun, &SubscriptionFact::TimePassed, at(10 * 24), GRACE).1.is_empty());
    let (told, effects) = step(&begun, &SubscriptionFact::TimePassed, at(11 * 24), GRACE);
    let ending = SubscriptionEffect::Notice(BillingNoticeKind::TrialEnding { at: at(14 * 24) });
    assert_eq!(effects, [ending]);
    assert!(step(&told, &SubscriptionFact::TimePassed, at(12 * 24), GRACE).1.is_empty());
    for (status, entitled) in [(Status::Paused, false), (Status::Canceled, false), (Status::PastDue, true)] {
        let (after, effects) = read(&told, ProviderSnapshot { status, ..trial() });
        assert_eq!(after.entitled, entitled, "{status:?}");
        assert!(!effects.contains(&SubscriptionEffect::RecordTrial));
    }
    // A pause of the collection is no pause of the subscription.
    let collecting = ProviderSnapshot { collection_paused: true, ..snapshot(Status::Active) };
    let (after, _) = read(&state(Status::Active), collecting);
    assert!(after.entitled && after.collection_paused);
}

#[test]
fn each_paid_invoice_has_one_receipt() {
    let mut paid = snapshot(Status::Active);
    paid.invoice = Some(invoice(ProviderInvoiceStatus::Paid, at(0)));
    let receipts = |effects: &[SubscriptionEffect]| {
        let is_receipt = |effect: &&SubscriptionEffect| {
            matches!(effect, SubscriptionEffect::Notice(BillingNoticeKind::Receipt { .. }))
        };
        effects.iter().filter(is_receipt).count()
    };
    let (after, effects) = read(&state(Status::Active), paid.clone());
    assert_eq!(receipts(&effects), 1);
    let (after, effects) = read(&after, paid.clone());
    assert_eq!(receipts(&effects), 0);
    paid.invoice = Some(invoice(ProviderInvoiceStatus::Paid, at(744)));
    assert_eq!(receipts(&read(&after, paid).1), 1);
}

#[test]
fn a_lost_dispute_ends_what_can_still_be_billed() {
    for from in ALL {
        let before = state(from);
        let (after, effects) = step(&before, &SubscriptionFact::DisputeLost, at(2), GRACE);
        assert_eq!(after, before, "{from:?}");
        assert_eq!(effects.contains(&SubscriptionEffect::EndDisputed), !from.is_final(), "{from:?}");
    }
    // A duplicate is being ended already.
    let (duplicate, _) = step(&state(Status::Active), &SubscriptionFact::Duplicate, at(2), GRACE);
    let (_, effects) = step(&duplicate, &SubscriptionFact::DisputeLost, at(2), GRACE);
    assert!(!effects.contains(&SubscriptionEffect::EndDisputed));
}

#[test]
fn revenue_is_that_of_the_discounts_that_last() {
    let discount = |duration| SubscriptionDiscount { reduction: DiscountReduction::BasisPoints(5_000), duration };
    let (ends, forever) = (discount(DiscountDuration::Until(at(100))), discount(DiscountDuration::Forever));
    let discounted = ProviderSnapshot { discounts: vec![ends, forever], ..snapshot(Status::Active) };
    let (half, effects) = read(&state(Status::Active), discounted.clone());
    assert_eq!((half.mrr, effects), (725, vec![SubscriptionEffect::Revenue { before: 2_900, after: 725 }]));
    let second = Duration::from_secs(1);
    assert_eq!(step(&half, &SubscriptionFact::TimePassed, at(100) - second, GRACE), (half.clone(), Vec::new()));
    let (ended, effects) = step(&half, &SubscriptionFact::TimePassed, at(100), GRACE);
    assert_eq!((ended.mrr, ended.discounts.as_slice()), (1_450, [forever].as_slice()));
    assert_eq!(effects, [SubscriptionEffect::Revenue { before: 725, after: 1_450 }]);
    // A provider that still lists an ended discount changes nothing.
    let listed = SubscriptionFact::Provider(Box::new(discounted.clone()));
    assert_eq!(step(&ended, &listed, at(101), GRACE), (ended, Vec::new()));
    // What is not paid has no revenue, whatever its discounts are.
    let unpaid = ProviderSnapshot { status: Status::Unpaid, ..discounted };
    assert_eq!(read(&half, unpaid).0.mrr, 0);
}
