//! Changes of subscriptions by their tenants: another plan, seats, cancellation and its end.
//!
//! A request to the provider is stored before the call. If the response is lost, the request is repeated with the same
//! idempotency key when the tenant tries again, or a job reads the state.

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    http::{Error, FieldError},
    id::Id,
    identity::Identity,
    payment::{
        CancelTime, ChangeTime, PaymentError, PaymentProvider, ProviderSubscription, ProviderSubscriptionStatus,
        SubscriptionChange,
    },
};
use serde_json::json;

use super::{
    checkout::{seats_to_buy, sold_at},
    errors::{no_subscription, other_group, payment_due, payment_error, subscription_busy},
    handle::Subscriptions,
    machine::{FutureTerms, SubscriptionFact},
    model::Subscription,
    store::{self, ChangeRequest, RequestedAction, StoredSubscription},
    terms::SubscriptionTerms,
};
use crate::{period::BillingInterval, plan::PlanDefinition};

/// Longest time between the preview of a change and the change.
const MAX_PREVIEW_AGE: Duration = Duration::from_hours(1);
/// Largest difference between the clocks of two replicas, of which one has made the preview.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);
/// Time for which a request without an answer may still take effect at the provider, so that no other one is made.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);

/// The direction of a change of plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// A change to a plan that costs more, which takes effect now.
    Up,
    /// A change to a plan that costs less, which takes effect at the end of the period.
    Down,
}

/// The terms that a tenant wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedTerms {
    /// `None` for the plan that the tenant has.
    pub(super) plan: Option<String>,
    /// `None` for the interval that the tenant has, or else that of the plan.
    pub(super) interval: Option<BillingInterval>,
    /// `None` for the seats that the tenant has.
    pub(super) seats: Option<u64>,
}

/// A change that is possible.
#[derive(Clone, Debug)]
pub(super) struct PossibleChange {
    pub(super) row: StoredSubscription,
    pub(super) provider: Arc<dyn PaymentProvider>,
    pub(super) terms: SubscriptionTerms,
    pub(super) price: String,
    pub(super) direction: Direction,
}

impl PossibleChange {
    /// Returns the change to request from the provider.
    pub(super) fn to_request(&self, proration_at: Timestamp, key: &str, return_url: String) -> SubscriptionChange {
        SubscriptionChange {
            price: self.price.clone(),
            quantity: self.terms.quantity,
            when: match self.direction {
                Direction::Up => ChangeTime::Now { proration_at },
                Direction::Down => ChangeTime::PeriodEnd,
            },
            return_url: Some(return_url),
            idempotency_key: key.to_owned(),
        }
    }
}

impl Subscriptions {
    /// Returns the change to the wanted terms.
    ///
    /// # Errors
    /// 409 `NO_SUBSCRIPTION`, `PLAN_NOT_SOLD`, `SUBSCRIPTION_OF_OTHER_GROUP`, `PLAN_NOT_PER_SEAT`, `NOTHING_TO_CHANGE`,
    /// and `SEATS_IN_USE` if more seats are in use; 404 for an unknown plan; 402 `BILLING_PAYMENT_DUE` for a change that
    /// costs more while a payment is due.
    pub(super) async fn possible_change(
        &self,
        caller: &Identity,
        wanted: &WantedTerms,
    ) -> Result<PossibleChange, Error> {
        let tenant = caller.require_tenant()?;
        let (row, provider) = self.changeable(tenant).await?;
        let current = &row.state.terms;
        let plan = self.wanted_plan(current, wanted.plan.as_deref()).await?;
        if plan.group != current.group {
            return Err(other_group(&current.plan));
        }
        let known: Option<BillingInterval> = current.interval.parse().ok();
        let same = known.filter(|interval| plan.sale_price(*interval).is_some());
        let (interval, price) = sold_at(&plan, wanted.interval.or(same), provider.name())?;
        let seats = wanted.seats.or_else(|| (plan.per_seat && current.per_seat).then_some(current.quantity));
        let quantity = seats_to_buy(&plan, seats)?;
        let terms = SubscriptionTerms::new(&plan, interval, quantity).ok_or_else(no_subscription)?;
        // The terms that the tenant has take back a change at the end of the period.
        if terms.gives_same_as(current) && row.state.pending.is_none() && row.state.scheduled.is_none() {
            return Err(Error::conflict(
                "NOTHING_TO_CHANGE",
                "the subscription is as it is wanted; nothing was changed",
            ));
        }
        // A longer interval is paid at once.
        let is_longer =
            terms.plan == current.plan && terms.interval != current.interval && interval == BillingInterval::YEAR;
        // A year that is paid is not ended by a shorter interval, although that costs more by month.
        let is_shorter = terms.plan == current.plan
            && known == Some(BillingInterval::YEAR)
            && interval != BillingInterval::YEAR
            && quantity <= current.quantity;
        let costs_more = terms.monthly_price > current.monthly_price && !is_shorter;
        let direction = if costs_more || is_longer { Direction::Up } else { Direction::Down };
        if direction == Direction::Up && row.state.is_payment_due() {
            return Err(payment_due());
        }
        if terms.per_seat {
            self.0.accounts.check_seats(tenant, Some(quantity)).await?;
        }
        Ok(PossibleChange { row, provider, terms, price, direction })
    }

    /// Returns the time from which the difference of a change is computed: that of a preview, or now.
    ///
    /// # Errors
    /// 422 for a time that no preview of the last hour has stated. By a later one, the tenant would pay less than the
    /// rest of the period costs.
    pub(super) fn proration_time(&self, wanted: Option<Timestamp>) -> Result<Timestamp, Error> {
        let now = self.now();
        match wanted {
            None => Ok(now),
            Some(at) if at >= now - MAX_PREVIEW_AGE && at <= now + MAX_CLOCK_DIFFERENCE => Ok(at.min(now)),
            Some(_) => {
                let message = "must be that of a preview of the last hour; preview the change again";
                Err(Error::invalid([FieldError::new("proration_at", message)]))
            }
        }
    }

    /// Returns the plan that is wanted. The version that the tenant has stays.
    async fn wanted_plan(&self, current: &SubscriptionTerms, plan: Option<&str>) -> Result<PlanDefinition, Error> {
        match plan {
            Some(key) if key != current.plan => {
                let found = self.0.accounts.catalogue().get(key).cloned();
                found.ok_or_else(|| Error::not_found(format!("the plan `{}`", key.escape_debug())))
            }
            _ => {
                let known = self.0.accounts.known_definition(&current.plan, Some(current.version)).await?;
                Ok(PlanDefinition::clone(&known))
            }
        }
    }

    /// Changes the plan or the seats of the caller's tenant.
    ///
    /// # Errors
    /// Those of [`possible_change`](Self::possible_change); 409 `NOT_AN_UPGRADE` or `NOT_A_DOWNGRADE` for a change in the
    /// other direction than `only`; 422 for a `proration_at` of no recent preview; the errors of the provider.
    pub(super) async fn change(
        &self,
        caller: &Identity,
        wanted: &WantedTerms,
        only: Option<Direction>,
        proration_at: Option<Timestamp>,
    ) -> Result<Subscription, Error> {
        let change = self.possible_change(caller, wanted).await?;
        match only {
            Some(Direction::Up) if change.direction == Direction::Down => {
                let message = "the plan costs less; change to it by a downgrade, at the end of the period";
                return Err(Error::conflict("NOT_AN_UPGRADE", message));
            }
            Some(Direction::Down) if change.direction == Direction::Up => {
                let message = "the plan costs more; change to it by an upgrade";
                return Err(Error::conflict("NOT_A_DOWNGRADE", message));
            }
            _ => {}
        }
        let (at, proration_at) = match change.direction {
            Direction::Up => {
                let at = self.proration_time(proration_at)?;
                (at, Some(at))
            }
            Direction::Down => (self.now(), None),
        };
        let (price, quantity) = (change.price.clone(), change.terms.quantity);
        let action = RequestedAction::Change { price, quantity, proration_at };
        let request = self.begin_request(caller, &change.row, &change.provider, action).await?;
        let at = match &request.action {
            RequestedAction::Change { proration_at: Some(at), .. } => *at,
            _ => at,
        };
        let return_url = format!("{}/", self.0.public_url);
        let asked = change.to_request(at, &request.key, return_url);
        let result = change.provider.change_subscription(&change.row.external.id, &asked).await;
        let scheduled = match &result {
            Ok(changed) if change.direction == Direction::Down => Some(Some(FutureTerms {
                terms: change.terms.clone(),
                at: change.row.state.renews_at,
                action_url: changed.action_url.clone(),
            })),
            // A provider that charges no difference waits for the customer, who confirms the change on its page. It is
            // pending then, until a period is charged at its price.
            Ok(changed) if changed.action_url.is_some() => {
                let action_url = changed.action_url.clone();
                Some(Some(FutureTerms { terms: change.terms.clone(), at: None, action_url }))
            }
            // A change now replaces one at the end of the period.
            Ok(_) => Some(None),
            Err(_) => None,
        };
        self.end_request(&change.row, &change.provider, &request, result, scheduled).await
    }

    /// Cancels the subscription of the caller's tenant, at the end of the period or now.
    ///
    /// # Errors
    /// 409 `NO_SUBSCRIPTION`, and the errors of the provider.
    pub(super) async fn cancel(&self, caller: &Identity, now: bool) -> Result<Subscription, Error> {
        let (row, provider) = self.changeable(caller.require_tenant()?).await?;
        if row.state.cancel_at.is_some() && !now {
            return Ok((&row).into());
        }
        let request = self.begin_request(caller, &row, &provider, RequestedAction::Cancel { now }).await?;
        let when = if now { CancelTime::Now } else { CancelTime::PeriodEnd };
        let result = provider.cancel_subscription(&row.external.id, when, &request.key).await;
        self.end_request(&row, &provider, &request, result, None).await
    }

    /// Takes back a planned cancellation, or resumes a paused subscription.
    ///
    /// # Errors
    /// 409 `NO_SUBSCRIPTION`; 409 `NOTHING_TO_RESUME` if it is neither canceled nor paused; the errors of the provider.
    pub(super) async fn resume(&self, caller: &Identity) -> Result<Subscription, Error> {
        let (row, provider) = self.changeable(caller.require_tenant()?).await?;
        let state = &row.state;
        let is_paused = state.status == ProviderSubscriptionStatus::Paused || state.collection_paused;
        if state.cancel_at.is_none() && !is_paused {
            let message = "the subscription is neither canceled nor paused; nothing was changed";
            return Err(Error::conflict("NOTHING_TO_RESUME", message));
        }
        let request = self.begin_request(caller, &row, &provider, RequestedAction::Resume).await?;
        let result = provider.resume_subscription(&row.external.id, &request.key).await;
        self.end_request(&row, &provider, &request, result, None).await
    }

    /// Removes the coupon of the subscription of the caller's tenant, so that its next invoices are not reduced.
    ///
    /// # Errors
    /// 409 `NO_SUBSCRIPTION`; 409 `NO_COUPON` if it has none; the errors of the provider.
    pub(super) async fn remove_coupon(&self, caller: &Identity) -> Result<Subscription, Error> {
        let (row, provider) = self.changeable(caller.require_tenant()?).await?;
        if row.state.discounts.is_empty() {
            return Err(Error::conflict("NO_COUPON", "the subscription has no coupon; nothing was changed"));
        }
        let request = self.begin_request(caller, &row, &provider, RequestedAction::RemoveCoupon).await?;
        let result = provider.remove_coupon(&row.external.id, &request.key).await;
        self.end_request(&row, &provider, &request, result, None).await
    }

    /// Stores a request before the provider is called. A request whose result is not known is made again if it asks
    /// for the same; else the state that it led to is read first.
    async fn begin_request(
        &self,
        caller: &Identity,
        row: &StoredSubscription,
        provider: &Arc<dyn PaymentProvider>,
        action: RequestedAction,
    ) -> Result<ChangeRequest, Error> {
        if let Some(waiting) = row.request.as_ref().filter(|waiting| !waiting.action.asks_same_as(&action)) {
            // What is read of the provider now would not show a request that is still on its way.
            if self.now() < waiting.requested_at + REQUEST_PATIENCE {
                return Err(subscription_busy());
            }
            self.refresh(provider, &row.external.id).await?;
            self.forget_request(row, Some(waiting)).await?;
        }
        let mut tx = self.0.db.tenant(row.tenant).begin().await?;
        self.0.accounts.lock_account_in(&mut tx, row.tenant).await?;
        let Some(mut stored) = store::lock(&mut tx, row.id).await? else {
            tx.rollback().await?;
            return Err(no_subscription());
        };
        if let Some(waiting) = stored.request.take() {
            tx.rollback().await?;
            if waiting.action.asks_same_as(&action) {
                return Ok(waiting);
            }
            return Err(subscription_busy());
        }
        let now = self.now();
        let key = format!("change-{}", Id::<Subscription>::new(now));
        let request = ChangeRequest { key, action, requested_at: now };
        let entry = AuditEntry::new("subscription.change_requested").actor(caller).resource("subscription", row.id);
        let details = json!({ "change": request.action, "plan": stored.state.terms.plan });
        self.0.audit.record_in(&mut tx, entry.details(details)).await?;
        stored.request = Some(request.clone());
        store::save(&mut tx, &stored, now).await?;
        tx.commit().await?;
        Ok(request)
    }

    /// Stores the result of a request, and reads the state that it led to. `scheduled` is the change at the end of the
    /// period after the request, if it has an effect on that.
    async fn end_request(
        &self,
        row: &StoredSubscription,
        provider: &Arc<dyn PaymentProvider>,
        request: &ChangeRequest,
        result: Result<ProviderSubscription, PaymentError>,
        scheduled: Option<Option<FutureTerms>>,
    ) -> Result<Subscription, Error> {
        if let Err(error) = result {
            // An answer that may have been lost: a job reads the state, or the next request repeats the call.
            if !matches!(error, PaymentError::Unknown { .. }) {
                self.forget_request(row, Some(request)).await?;
            }
            return Err(payment_error(error));
        }
        if let Some(scheduled) = scheduled {
            self.apply_now(row.tenant, row.id, &SubscriptionFact::Scheduled(scheduled)).await?;
        }
        let read = self.refresh(provider, &row.external.id).await?;
        self.forget_request(row, Some(request)).await?;
        let read = read.ok_or_else(no_subscription)?;
        Ok((&read).into())
    }

    /// Removes a request whose result is known.
    pub(super) async fn forget_request(
        &self,
        row: &StoredSubscription,
        request: Option<&ChangeRequest>,
    ) -> Result<(), Error> {
        let Some(request) = request else { return Ok(()) };
        let mut tx = self.0.db.tenant(row.tenant).begin().await?;
        self.0.accounts.lock_account_in(&mut tx, row.tenant).await?;
        if let Some(mut stored) = store::lock(&mut tx, row.id).await?
            && stored.request.as_ref() == Some(request)
        {
            stored.request = None;
            store::save(&mut tx, &stored, self.now()).await?;
        }
        Ok(tx.commit().await?)
    }
}
