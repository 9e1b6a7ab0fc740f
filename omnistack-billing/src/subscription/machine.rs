//! The states of a subscription: a pure function from a state and a fact to the next state and its effects.
//!
//! A fact is never a change that a provider has announced, but the state that the provider has when it is asked. So
//! facts can arrive twice, late and in any order: the last one that is read from the provider decides.

use std::time::Duration;

use omnistack_core::{
    billing_notice::BillingNoticeKind,
    clock::Timestamp,
    money::Money,
    payment::{ProviderInvoiceStatus, ProviderSubscriptionStatus as Status, SubscriptionDiscount},
};
use serde::{Deserialize, Serialize};

use super::{
    discounts::{discounted_price, has_ended},
    terms::SubscriptionTerms,
};

/// Time before the end of a trial at which the tenant is told.
pub(super) const TRIAL_ENDING_NOTICE: Duration = Duration::from_hours(3 * 24);
/// Longest time after the start of a period in which an invoice is that of the renewal, and not that of a change.
const MAX_RENEWAL_INVOICE_DELAY: Duration = Duration::from_hours(2);

/// Terms that are not in effect yet, the time at which they expire or take effect, and the page on which the customer
/// confirms them, if the provider asks for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FutureTerms {
    pub(super) terms: SubscriptionTerms,
    pub(super) at: Option<Timestamp>,
    pub(super) action_url: Option<String>,
}

/// The state of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each of which can hold in any status")]
pub(super) struct SubscriptionState {
    /// The status at the provider.
    pub(super) status: Status,
    /// The terms that are paid.
    pub(super) terms: SubscriptionTerms,
    /// Whether the subscription was ever paid or in trial.
    pub(super) has_begun: bool,
    /// A change that takes effect when it is paid.
    pub(super) pending: Option<FutureTerms>,
    /// A change that takes effect at the end of the period.
    pub(super) scheduled: Option<FutureTerms>,
    /// The time from the earliest start to the latest end of the items.
    pub(super) period: Option<(Timestamp, Timestamp)>,
    /// The earliest end of an item.
    pub(super) renews_at: Option<Timestamp>,
    pub(super) trial_end: Option<Timestamp>,
    pub(super) cancel_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) collection_paused: bool,
    /// The discounts that have not ended, in the order in which the provider applies them.
    pub(super) discounts: Vec<SubscriptionDiscount>,
    pub(super) past_due_since: Option<Timestamp>,
    pub(super) failed_payments: u32,
    /// The time until which the tenant keeps the plan while a payment is due.
    pub(super) grace_until: Option<Timestamp>,
    /// The number of disputes of its payments that the app has not won.
    pub(super) disputes: u32,
    /// Whether another subscription of the tenant was paid first.
    pub(super) is_duplicate: bool,
    /// Whether the tenant has the plan.
    pub(super) entitled: bool,
    /// The recurring revenue of a month less the discounts that recur, in minor units. Zero unless the subscription is
    /// paid.
    pub(super) mrr: i64,
    pub(super) latest_invoice: Option<String>,
    /// The invoice that a receipt was sent for.
    pub(super) receipt_invoice: Option<String>,
    pub(super) trial_ending_sent: bool,
    /// The end of the period for which the expiry of the card was checked.
    pub(super) card_checked_until: Option<Timestamp>,
    pub(super) provider_version: Option<i64>,
}

impl SubscriptionState {
    /// Creates the state of a subscription of which only the terms are known.
    pub(super) fn new(terms: SubscriptionTerms) -> Self {
        Self {
            status: Status::Incomplete,
            terms,
            has_begun: false,
            pending: None,
            scheduled: None,
            period: None,
            renews_at: None,
            trial_end: None,
            cancel_at: None,
            ended_at: None,
            collection_paused: false,
            discounts: Vec::new(),
            past_due_since: None,
            failed_payments: 0,
            grace_until: None,
            disputes: 0,
            is_duplicate: false,
            entitled: false,
            mrr: 0,
            latest_invoice: None,
            receipt_invoice: None,
            trial_ending_sent: false,
            card_checked_until: None,
            provider_version: None,
        }
    }

    /// Returns whether a payment is due, so that nothing more can be bought.
    pub(super) fn is_payment_due(&self) -> bool {
        matches!(self.status, Status::PastDue | Status::Unpaid)
    }

    /// Returns whether the provider bills the subscription, or will again.
    pub(super) fn is_running(&self) -> bool {
        !self.status.is_final() && self.status != Status::Incomplete
    }

    /// Returns whether the provider collects the price of each period.
    pub(super) fn has_revenue(&self) -> bool {
        matches!(self.status, Status::Active | Status::PastDue) && !self.is_duplicate
    }

    fn is_entitled_at(&self, now: Timestamp) -> bool {
        let has_status = match self.status {
            Status::Trialing | Status::Active => true,
            Status::PastDue => self.grace_until.is_some_and(|until| now < until),
            Status::Incomplete | Status::IncompleteExpired | Status::Unpaid | Status::Paused | Status::Canceled => {
                false
            }
        };
        has_status && !self.is_duplicate && self.disputes == 0
    }
}

/// The newest invoice of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LatestInvoice {
    pub(super) id: String,
    pub(super) number: Option<String>,
    pub(super) status: ProviderInvoiceStatus,
    pub(super) attempts: u32,
    pub(super) paid: Money,
    pub(super) url: Option<String>,
    pub(super) created_at: Timestamp,
}

/// The state of a subscription as the provider has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProviderSnapshot {
    pub(super) status: Status,
    /// `None` if the price is of no plan: the terms stay.
    pub(super) terms: Option<SubscriptionTerms>,
    pub(super) pending: Option<FutureTerms>,
    pub(super) period: Option<(Timestamp, Timestamp)>,
    pub(super) renews_at: Option<Timestamp>,
    pub(super) trial_end: Option<Timestamp>,
    pub(super) cancel_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) collection_paused: bool,
    pub(super) discounts: Vec<SubscriptionDiscount>,
    pub(super) invoice: Option<LatestInvoice>,
    pub(super) version: Option<i64>,
    /// Whether a subscription of the provider can begin again after its end, as in app stores.
    pub(super) can_return: bool,
    /// Whether the provider charges the price of a change from the next period on, and no difference now.
    pub(super) charges_later: bool,
}

impl ProviderSnapshot {
    /// Returns whether the terms are paid, where they cost more than those before: a change whose payment has failed,
    /// or whose invoice is void, gives nothing.
    fn pays_for_change_of(&self, before: &SubscriptionState) -> bool {
        if self.charges_later && self.status != Status::Trialing {
            // A period that began after the change was charged at its price.
            let start = |period: Option<(Timestamp, Timestamp)>| period.map(|(start, _)| start);
            return start(self.period) > start(before.period);
        }
        let Some(invoice) = &self.invoice else { return matches!(self.status, Status::Active | Status::Trialing) };
        if invoice.status == ProviderInvoiceStatus::Paid {
            return true;
        }
        // The invoice of a renewal says nothing about a change that was made before it. A change that was made after it
        // has no invoice yet.
        let is_of_old_terms = before.latest_invoice.as_ref() == Some(&invoice.id);
        let period_start = self.period.map(|(start, _)| start);
        let is_renewal = period_start.is_some_and(|start| {
            start <= invoice.created_at && invoice.created_at.duration_since(start) <= MAX_RENEWAL_INVOICE_DELAY
        });
        let has_interval = self.terms.as_ref().is_some_and(|terms| terms.interval == before.terms.interval);
        is_renewal && !is_of_old_terms && has_interval
    }
}

/// A fact about a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionFact {
    /// The provider has the subscription in this state.
    Provider(Box<ProviderSnapshot>),
    /// The provider no longer has the subscription.
    Gone,
    /// The number of disputes of its payments that the app has not won.
    Disputes(u32),
    /// A dispute of a payment is lost, for which the subscription ends.
    DisputeLost,
    /// A change takes effect at the end of the period, or none does any more.
    Scheduled(Option<FutureTerms>),
    /// Another subscription of the tenant was paid first.
    Duplicate,
    /// The other subscription, which was paid first, has ended.
    DuplicateLeft,
    /// The card was checked for the period that ends at this time; it expires before, in this month and year.
    CardChecked { until: Timestamp, expires: Option<(u8, u16)> },
    /// Time has passed.
    TimePassed,
}

/// An effect of a change of a subscription, for the same transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionEffect {
    /// The plan of the tenant must be assigned anew.
    AssignPlan,
    /// The trial of the plan group is used.
    RecordTrial,
    /// The recurring revenue has changed.
    Revenue { before: i64, after: i64 },
    /// The subscription must be canceled at the provider, and its payment refunded.
    EndDuplicate,
    /// The subscription must be canceled at the provider. The bank has taken its payment back.
    EndDisputed,
    /// The owners get a mail.
    Notice(BillingNoticeKind),
}

/// Returns the next state of a subscription and its effects. `grace` is the time for which a tenant keeps the plan while
/// a payment is due.
pub(super) fn step(
    before: &SubscriptionState,
    fact: &SubscriptionFact,
    now: Timestamp,
    grace: Duration,
) -> (SubscriptionState, Vec<SubscriptionEffect>) {
    let (mut after, mut effects) = (before.clone(), Vec::new());
    match fact {
        SubscriptionFact::Provider(snapshot) => {
            let is_older = snapshot.version.zip(before.provider_version).is_some_and(|(new, known)| new < known);
            if is_older || (before.status.is_final() && !snapshot.can_return) {
                return (after, effects);
            }
            read_snapshot(before, snapshot, now, grace, &mut after, &mut effects);
        }
        SubscriptionFact::Gone => end(&mut after, now),
        SubscriptionFact::Disputes(open) => after.disputes = *open,
        SubscriptionFact::DisputeLost => {
            // A duplicate is being ended already.
            if !before.status.is_final() && !before.is_duplicate {
                effects.push(SubscriptionEffect::EndDisputed);
            }
        }
        SubscriptionFact::Scheduled(change) => after.scheduled.clone_from(change),
        SubscriptionFact::Duplicate if before.is_duplicate => {}
        SubscriptionFact::Duplicate => {
            after.is_duplicate = true;
            effects.push(SubscriptionEffect::EndDuplicate);
        }
        SubscriptionFact::DuplicateLeft => after.is_duplicate = false,
        SubscriptionFact::CardChecked { until, expires } => {
            after.card_checked_until = Some(*until);
            if let Some((month, year)) = *expires {
                effects.push(SubscriptionEffect::Notice(BillingNoticeKind::CardExpiring { month, year }));
            }
        }
        SubscriptionFact::TimePassed => {}
    }
    if let Some(at) = after.trial_end.filter(|at| *at <= now + TRIAL_ENDING_NOTICE && *at > now)
        && after.status == Status::Trialing
        && !after.is_duplicate
        && !after.trial_ending_sent
    {
        after.trial_ending_sent = true;
        effects.push(SubscriptionEffect::Notice(BillingNoticeKind::TrialEnding { at }));
    }
    finish(before, &mut after, now, &mut effects);
    (after, effects)
}

fn read_snapshot(
    before: &SubscriptionState,
    snapshot: &ProviderSnapshot,
    now: Timestamp,
    grace: Duration,
    after: &mut SubscriptionState,
    effects: &mut Vec<SubscriptionEffect>,
) {
    let ProviderSnapshot { status, pending, period, renews_at, trial_end, cancel_at, ended_at, .. } = snapshot;
    after.status = *status;
    (after.period, after.renews_at, after.cancel_at) = (*period, *renews_at, *cancel_at);
    (after.collection_paused, after.ended_at) = (snapshot.collection_paused, *ended_at);
    after.discounts.clone_from(&snapshot.discounts);
    after.pending.clone_from(pending);
    after.provider_version = snapshot.version.or(before.provider_version);
    if *trial_end != before.trial_end {
        (after.trial_end, after.trial_ending_sent) = (*trial_end, false);
    }
    if trial_end.is_some() && before.trial_end.is_none() {
        effects.push(SubscriptionEffect::RecordTrial);
    }
    read_terms(before, snapshot, after, effects);
    read_payments(before, snapshot, now, grace, after, effects);
    if status.is_final() {
        end(after, now);
    }
}

fn read_terms(
    before: &SubscriptionState,
    snapshot: &ProviderSnapshot,
    after: &mut SubscriptionState,
    effects: &mut Vec<SubscriptionEffect>,
) {
    if let Some(terms) = &snapshot.terms {
        let costs_more = terms.monthly_price > before.terms.monthly_price && !terms.gives_same_as(&before.terms);
        if before.has_begun && costs_more && !snapshot.pays_for_change_of(before) {
            let at = snapshot.renews_at.filter(|_| snapshot.charges_later);
            after.pending = Some(FutureTerms { terms: terms.clone(), at, action_url: None });
        } else {
            after.terms = terms.clone();
            if before.has_begun && !terms.has_plan_of(&before.terms) && !snapshot.status.is_final() {
                effects.push(SubscriptionEffect::Notice(BillingNoticeKind::PlanChanged));
            }
        }
    }
    // A provider that charges later has made a change when the customer has confirmed it.
    let made = snapshot.terms.as_ref().filter(|_| snapshot.charges_later).unwrap_or(&after.terms);
    let is_done = after.scheduled.as_ref().is_some_and(|change| change.terms.gives_same_as(made));
    if is_done {
        after.scheduled = None;
    }
    after.has_begun |= after.is_running();
}

fn read_payments(
    before: &SubscriptionState,
    snapshot: &ProviderSnapshot,
    now: Timestamp,
    grace: Duration,
    after: &mut SubscriptionState,
    effects: &mut Vec<SubscriptionEffect>,
) {
    if after.is_payment_due() {
        let since = before.past_due_since.unwrap_or(now);
        after.past_due_since = Some(since);
        let until = *after.grace_until.get_or_insert(since + grace);
        after.failed_payments = snapshot.invoice.as_ref().map_or(1, |invoice| invoice.attempts.max(1));
        if before.past_due_since.is_none() {
            effects.push(SubscriptionEffect::Notice(BillingNoticeKind::PaymentFailed { grace_until: until }));
        }
    } else {
        (after.past_due_since, after.grace_until, after.failed_payments) = (None, None, 0);
    }
    let Some(invoice) = &snapshot.invoice else { return };
    after.latest_invoice = Some(invoice.id.clone());
    let is_receipted = before.receipt_invoice.as_ref() == Some(&invoice.id);
    if invoice.status == ProviderInvoiceStatus::Paid && invoice.paid.minor() > 0 && !is_receipted {
        after.receipt_invoice = Some(invoice.id.clone());
        effects.push(SubscriptionEffect::Notice(BillingNoticeKind::Receipt {
            amount: invoice.paid,
            number: invoice.number.clone(),
            url: invoice.url.clone(),
        }));
    }
}

/// Ends a subscription.
fn end(state: &mut SubscriptionState, now: Timestamp) {
    if !state.status.is_final() {
        state.status = Status::Canceled;
    }
    state.ended_at.get_or_insert(now);
    (state.pending, state.scheduled) = (None, None);
    (state.past_due_since, state.grace_until, state.failed_payments) = (None, None, 0);
}

fn finish(
    before: &SubscriptionState,
    after: &mut SubscriptionState,
    now: Timestamp,
    effects: &mut Vec<SubscriptionEffect>,
) {
    after.entitled = after.is_entitled_at(now);
    let has_other_terms = after.entitled && !after.terms.gives_same_as(&before.terms);
    if after.entitled != before.entitled || has_other_terms {
        effects.push(SubscriptionEffect::AssignPlan);
    }
    after.discounts.retain(|discount| !has_ended(discount, now));
    after.mrr = if after.has_revenue() { discounted_price(&after.terms, &after.discounts) } else { 0 };
    if after.mrr != before.mrr {
        effects.push(SubscriptionEffect::Revenue { before: before.mrr, after: after.mrr });
    }
    if after.status == Status::Canceled && before.status != Status::Canceled && before.has_begun && !after.is_duplicate
    {
        effects.push(SubscriptionEffect::Notice(BillingNoticeKind::SubscriptionEnded));
    }
}

#[cfg(test)]
mod tests;
