//! Subscriptions: their start and their changes.

mod periods;

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{
        CancelTime, ChangePreview, ChangeTime, NewProviderSubscription, PaymentError, ProviderEventObject,
        ProviderSubscriptionStatus, SubscriptionChange, TrialEndBehavior,
    },
};

use super::{
    account::{FakeTx, rejected},
    invoices::Bill,
    objects::{FakeCustomer, FakeSubscription, InvoiceReason, KeyResult, PendingChange},
    payments::Reply,
    price::{FakePrice, coupon_percent, unused},
    timing::{INCOMPLETE_LIFETIME, TRIAL_NOTICE},
};

/// Largest number of units of a subscription.
const MAX_QUANTITY: u64 = 1_000_000_000;

/// A subscription to start.
pub(super) struct SubscriptionStart {
    pub(super) reference: String,
    pub(super) customer: String,
    pub(super) price: String,
    pub(super) quantity: u64,
    pub(super) trial_end: Option<Timestamp>,
    pub(super) trial_end_behavior: TrialEndBehavior,
    pub(super) coupon: Option<String>,
}

/// Verifies the price, the quantity and the coupon of a subscription.
///
/// # Errors
/// [`PaymentError::Rejected`] if the fake has no such price or coupon, or the quantity is zero or too large.
pub(super) fn check_terms(price: &str, quantity: u64, coupon: Option<&str>) -> Result<FakePrice, PaymentError> {
    if !(1..=MAX_QUANTITY).contains(&quantity) {
        let message = format!("the quantity must be at least 1 and at most {MAX_QUANTITY}");
        return Err(rejected("quantity_invalid", message));
    }
    if coupon.is_some_and(|code| coupon_percent(code).is_none()) {
        let message = "the fake has no such coupon; use a code of the form NAME:PERCENT, such as WELCOME:20";
        return Err(rejected("coupon_unknown", message));
    }
    FakePrice::parse(price)
}

impl FakeSubscription {
    fn total(&self) -> Result<Money, PaymentError> {
        Ok(FakePrice::parse(&self.price)?.total(self.quantity, self.coupon.as_deref()))
    }

    /// Begins periods that are counted from a time.
    fn restart(&mut self, anchor: Timestamp) -> Result<(), PaymentError> {
        self.anchor = anchor;
        self.enter_period(0)
    }

    fn enter_period(&mut self, number: i64) -> Result<(), PaymentError> {
        let price = FakePrice::parse(&self.price)?;
        self.period_number = number;
        self.period = (price.boundary(self.anchor, number), price.boundary(self.anchor, number.saturating_add(1)));
        Ok(())
    }

    /// Changes the price and the quantity. A price with another interval begins a new period.
    pub(super) fn apply_change(&mut self, price: String, quantity: u64, at: Timestamp) -> Result<(), PaymentError> {
        let same_interval = FakePrice::parse(&price)?.interval == FakePrice::parse(&self.price)?.interval;
        self.price = price;
        self.quantity = quantity;
        if same_interval || self.status == ProviderSubscriptionStatus::Trialing {
            return Ok(());
        }
        self.restart(at)
    }

    /// Returns the difference that a change costs now, which is negative if it gives credit, and the new amount of a
    /// period.
    fn quote(&self, price: &str, quantity: u64, at: Timestamp) -> Result<(i64, Money), PaymentError> {
        let (old, new) = (FakePrice::parse(&self.price)?, check_terms(price, quantity, None)?);
        if old.amount.currency() != new.amount.currency() {
            return Err(rejected("currency_mismatch", "the new price must have the currency of the subscription"));
        }
        let (before, after) = (self.total()?, new.total(quantity, self.coupon.as_deref()));
        let due = if self.status == ProviderSubscriptionStatus::Trialing {
            0
        } else if old.interval == new.interval {
            unused(after, self.period, at) - unused(before, self.period, at)
        } else {
            after.minor() - unused(before, self.period, at)
        };
        Ok((due, after))
    }

    /// Returns the time from which a change counts: in the current period and not in the future.
    fn change_time(&self, asked: Timestamp, now: Timestamp) -> Timestamp {
        asked.max(self.period.0).min(now.max(self.period.0))
    }

    /// Verifies that the subscription can be changed.
    fn check_open(&self) -> Result<(), PaymentError> {
        if self.status.is_final() {
            let message = format!("the subscription is {}; create another one", self.status.as_str());
            return Err(rejected("subscription_ended", message));
        }
        Ok(())
    }
}

impl FakeTx {
    /// Stores a subscription that has changed, and emits its event.
    pub(super) async fn save(&mut self, subscription: &mut FakeSubscription) -> Result<(), PaymentError> {
        let kind = if subscription.status.is_final() { "subscription.deleted" } else { "subscription.updated" };
        self.save_as(subscription, kind).await
    }

    async fn save_as(&mut self, subscription: &mut FakeSubscription, kind: &str) -> Result<(), PaymentError> {
        subscription.version += 1;
        self.put(&*subscription).await?;
        let object = ProviderEventObject::Subscription(subscription.id.clone());
        self.emit(kind, object, subscription.reference.as_deref()).await
    }

    /// Starts a subscription: with its trial, or with its first invoice.
    pub(super) async fn start_subscription(
        &mut self,
        start: SubscriptionStart,
    ) -> Result<FakeSubscription, PaymentError> {
        check_terms(&start.price, start.quantity, start.coupon.as_deref())?;
        self.get::<FakeCustomer>(&start.customer).await?;
        let now = self.now;
        let trial_end = start.trial_end.filter(|end| *end > now);
        let mut subscription = FakeSubscription {
            id: self.new_id("subscription"),
            reference: Some(start.reference),
            customer: start.customer,
            status: ProviderSubscriptionStatus::Incomplete,
            item: self.new_id("item"),
            price: start.price,
            quantity: start.quantity,
            coupon: start.coupon,
            anchor: trial_end.unwrap_or(now),
            period_number: 0,
            period: (now, now),
            trial_end,
            trial_end_behavior: start.trial_end_behavior,
            trial_announced: trial_end.is_some_and(|end| end.duration_since(now) <= TRIAL_NOTICE),
            cancel_at: None,
            ended_at: None,
            collection_paused: false,
            latest_invoice: None,
            pending: None,
            scheduled: None,
            credit: 0,
            checkout: None,
            version: 0,
            created_at: now,
        };
        let total = subscription.total()?;
        let amount = match trial_end {
            Some(end) => {
                subscription.status = ProviderSubscriptionStatus::Trialing;
                subscription.period = (now, end);
                Money::new(0, total.currency())
            }
            None => {
                subscription.restart(now)?;
                total
            }
        };
        self.save_as(&mut subscription, "subscription.created").await?;
        let period = subscription.period;
        let bill = Bill { amount, reason: InvoiceReason::Create, period, renewal: false };
        self.bill(&mut subscription, bill).await?;
        self.save(&mut subscription).await?;
        Ok(subscription)
    }

    /// Creates a subscription as the app asks for it. The inner error is the response to the app, after which the
    /// transaction is committed.
    pub(super) async fn create_subscription(
        &mut self,
        new: &NewProviderSubscription,
    ) -> Result<Result<Reply<FakeSubscription>, PaymentError>, PaymentError> {
        let request = format!("create_subscription {new:?}");
        if let Some(id) = self.replay(&new.idempotency_key, &request).await? {
            return Ok(Ok(Reply::sent(self.get(&id).await?)));
        }
        let customer: FakeCustomer = self.get(&new.customer).await?;
        let lost = match self.card_faults(customer.default_token(), &new.reference).await? {
            Ok(lost) => lost,
            Err(error) => return Ok(Err(error)),
        };
        let start = SubscriptionStart {
            reference: new.reference.clone(),
            customer: new.customer.clone(),
            price: new.price.clone(),
            quantity: new.quantity,
            trial_end: new.trial_end,
            trial_end_behavior: new.trial_end_behavior,
            coupon: new.coupon.clone(),
        };
        let subscription = self.start_subscription(start).await?;
        self.remember(&new.idempotency_key, &request, KeyResult::Object(subscription.id.clone())).await?;
        Ok(Ok(Reply { object: subscription, lost }))
    }

    /// Returns what a change would cost.
    pub(super) async fn preview_change(
        &mut self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ChangePreview, PaymentError> {
        let subscription: FakeSubscription = self.get(id).await?;
        subscription.check_open()?;
        let end = subscription.period.1;
        let asked = match change.when {
            ChangeTime::Now { proration_at } => proration_at,
            ChangeTime::PeriodEnd => end,
        };
        let at = subscription.change_time(asked, self.now);
        let (due, next) = subscription.quote(&change.price, change.quantity, at)?;
        let due = Money::new(due.saturating_sub(subscription.credit).max(0), next.currency());
        Ok(match change.when {
            ChangeTime::Now { .. } => {
                ChangePreview { due_now: Some(due), next: Some(next), proration_at: at, effective_at: at }
            }
            ChangeTime::PeriodEnd => {
                ChangePreview { due_now: None, next: Some(next), proration_at: self.now, effective_at: end }
            }
        })
    }

    /// Changes a subscription. The inner error is the response to the app, after which the transaction is committed.
    pub(super) async fn change_subscription(
        &mut self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<Result<Reply<FakeSubscription>, PaymentError>, PaymentError> {
        let request = format!("change_subscription {id} {change:?}");
        let mut subscription: FakeSubscription = self.get(id).await?;
        if self.replay(&change.idempotency_key, &request).await?.is_some() {
            return Ok(Ok(Reply::sent(subscription)));
        }
        subscription.check_open()?;
        let mut lost = false;
        match change.when {
            ChangeTime::PeriodEnd => {
                subscription.quote(&change.price, change.quantity, self.now)?;
                let same = change.price == subscription.price && change.quantity == subscription.quantity;
                subscription.scheduled = (!same).then(|| (change.price.clone(), change.quantity));
            }
            ChangeTime::Now { proration_at } => {
                if subscription.status == ProviderSubscriptionStatus::Incomplete {
                    let message = "the first payment of the subscription is not made yet; it can't be changed";
                    return Err(rejected("subscription_incomplete", message));
                }
                let customer: FakeCustomer = self.get(&subscription.customer).await?;
                lost = match self.card_faults(customer.default_token(), &change.idempotency_key).await? {
                    Ok(lost) => lost,
                    Err(error) => return Ok(Err(error)),
                };
                self.drop_pending(&mut subscription).await?;
                subscription.scheduled = None;
                let at = subscription.change_time(proration_at, self.now);
                let (due, next) = subscription.quote(&change.price, change.quantity, at)?;
                if due > 0 {
                    self.change_after_payment(&mut subscription, change, at, Money::new(due, next.currency())).await?;
                } else {
                    subscription.credit = subscription.credit.saturating_sub(due);
                    subscription.apply_change(change.price.clone(), change.quantity, at)?;
                }
            }
        }
        self.save(&mut subscription).await?;
        self.remember(&change.idempotency_key, &request, KeyResult::Object(subscription.id.clone())).await?;
        Ok(Ok(Reply { object: subscription, lost }))
    }

    /// Bills a change, which takes effect when it is paid.
    async fn change_after_payment(
        &mut self,
        subscription: &mut FakeSubscription,
        change: &SubscriptionChange,
        at: Timestamp,
        amount: Money,
    ) -> Result<(), PaymentError> {
        subscription.pending = Some(PendingChange {
            price: change.price.clone(),
            quantity: change.quantity,
            at,
            invoice: String::new(),
            expires_at: self.now + INCOMPLETE_LIFETIME,
        });
        let period = (at, subscription.period.1);
        let bill = Bill { amount, reason: InvoiceReason::Update, period, renewal: false };
        self.bill(subscription, bill).await.map(drop)
    }

    /// Drops a change that was not paid.
    async fn drop_pending(&mut self, subscription: &mut FakeSubscription) -> Result<(), PaymentError> {
        match subscription.pending.take() {
            Some(pending) => self.void_invoice(subscription, &pending.invoice).await,
            None => Ok(()),
        }
    }

    /// Cancels a subscription.
    pub(super) async fn cancel_subscription(
        &mut self,
        id: &str,
        when: CancelTime,
        key: &str,
    ) -> Result<FakeSubscription, PaymentError> {
        let request = format!("cancel_subscription {id} {when:?}");
        let mut subscription: FakeSubscription = self.get(id).await?;
        if self.replay(key, &request).await?.is_some() {
            return Ok(subscription);
        }
        subscription.check_open()?;
        match when {
            CancelTime::Now => self.end(&mut subscription, ProviderSubscriptionStatus::Canceled).await?,
            CancelTime::PeriodEnd => subscription.cancel_at = Some(subscription.period.1.max(self.now)),
        }
        self.save(&mut subscription).await?;
        self.remember(key, &request, KeyResult::Object(subscription.id.clone())).await?;
        Ok(subscription)
    }

    /// Takes back a planned cancellation, resumes the collection, or begins a period after a trial that has ended.
    pub(super) async fn resume_subscription(&mut self, id: &str, key: &str) -> Result<FakeSubscription, PaymentError> {
        let request = format!("resume_subscription {id}");
        let mut subscription: FakeSubscription = self.get(id).await?;
        if self.replay(key, &request).await?.is_some() {
            return Ok(subscription);
        }
        subscription.check_open()?;
        subscription.cancel_at = None;
        subscription.collection_paused = false;
        if subscription.status == ProviderSubscriptionStatus::Paused {
            let customer: FakeCustomer = self.get(&subscription.customer).await?;
            if customer.default_token().is_none() {
                let message = "the customer has no payment method; add one, and resume the subscription then";
                return Err(rejected("payment_method_missing", message));
            }
            subscription.status = ProviderSubscriptionStatus::Active;
            subscription.restart(self.now)?;
            self.bill_period(&mut subscription).await?;
        }
        self.save(&mut subscription).await?;
        self.remember(key, &request, KeyResult::Object(subscription.id.clone())).await?;
        Ok(subscription)
    }

    /// Removes the coupon, so that the next invoices are not reduced.
    pub(super) async fn remove_coupon(&mut self, id: &str, key: &str) -> Result<FakeSubscription, PaymentError> {
        let request = format!("remove_coupon {id}");
        let mut subscription: FakeSubscription = self.get(id).await?;
        if self.replay(key, &request).await?.is_some() {
            return Ok(subscription);
        }
        subscription.check_open()?;
        if subscription.coupon.take().is_some() {
            self.save(&mut subscription).await?;
        }
        self.remember(key, &request, KeyResult::Object(subscription.id.clone())).await?;
        Ok(subscription)
    }

    /// Pauses the collection of payments.
    pub(super) async fn pause_subscription(&mut self, id: &str, key: &str) -> Result<FakeSubscription, PaymentError> {
        let request = format!("pause_subscription {id}");
        let mut subscription: FakeSubscription = self.get(id).await?;
        if self.replay(key, &request).await?.is_some() {
            return Ok(subscription);
        }
        subscription.check_open()?;
        subscription.collection_paused = true;
        self.save(&mut subscription).await?;
        self.remember(key, &request, KeyResult::Object(subscription.id.clone())).await?;
        Ok(subscription)
    }

    /// Changes the number of units without a charge.
    pub(super) async fn set_quantity(&mut self, id: &str, quantity: u64) -> Result<(), PaymentError> {
        let mut subscription: FakeSubscription = self.get(id).await?;
        subscription.check_open()?;
        check_terms(&subscription.price, quantity, None)?;
        subscription.quantity = quantity;
        self.save(&mut subscription).await
    }
}
