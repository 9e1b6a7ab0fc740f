//! The periods of subscriptions: their renewals, the ends of trials, and the end.

use omnistack_core::{
    clock::Timestamp,
    payment::{PaymentError, ProviderInvoiceStatus, ProviderSubscriptionStatus, TrialEndBehavior},
};

use crate::fake::{
    account::FakeTx,
    invoices::Bill,
    objects::{FakeCustomer, FakeInvoice, FakeSubscription, InvoiceReason},
    price::FakePrice,
    timing::INCOMPLETE_LIFETIME,
};

impl FakeSubscription {
    /// Applies the change that was planned for the end of the period. Returns whether the interval changes.
    fn apply_schedule(&mut self) -> Result<bool, PaymentError> {
        let Some((price, quantity)) = self.scheduled.take() else { return Ok(false) };
        let changes = FakePrice::parse(&price)?.interval != FakePrice::parse(&self.price)?.interval;
        self.price = price;
        self.quantity = quantity;
        Ok(changes)
    }
}

impl FakeTx {
    /// Ends a subscription, and makes its open invoices void. The caller stores it.
    pub(in crate::fake) async fn end(
        &mut self,
        subscription: &mut FakeSubscription,
        status: ProviderSubscriptionStatus,
    ) -> Result<(), PaymentError> {
        subscription.status = status;
        subscription.ended_at = Some(self.now);
        subscription.pending = None;
        subscription.scheduled = None;
        subscription.checkout = None;
        let invoices: Vec<FakeInvoice> = self.of_parent(&subscription.customer).await?;
        for invoice in invoices {
            if invoice.subscription == subscription.id && invoice.status == ProviderInvoiceStatus::Open {
                self.void_invoice(subscription, &invoice.id).await?;
            }
        }
        Ok(())
    }

    /// Bills the current period, without the payer.
    pub(super) async fn bill_period(&mut self, subscription: &mut FakeSubscription) -> Result<(), PaymentError> {
        let (amount, period) = (subscription.total()?, subscription.period);
        let bill = Bill { amount, reason: InvoiceReason::Cycle, period, renewal: true };
        self.bill(subscription, bill).await.map(drop)
    }

    /// Makes the change of a subscription that is due.
    pub(in crate::fake) async fn subscription_due(
        &mut self,
        mut subscription: FakeSubscription,
    ) -> Result<(), PaymentError> {
        use ProviderSubscriptionStatus as S;
        let now = self.now;
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if subscription.status == S::Incomplete && is_due(Some(subscription.created_at + INCOMPLETE_LIFETIME)) {
            self.end(&mut subscription, S::IncompleteExpired).await?;
        } else if is_due(subscription.pending.as_ref().map(|pending| pending.expires_at)) {
            self.drop_pending(&mut subscription).await?;
        } else if is_due(subscription.cancel_at) {
            self.end(&mut subscription, S::Canceled).await?;
        } else if subscription.status == S::Trialing && is_due(subscription.trial_end) {
            self.end_trial(&mut subscription).await?;
        } else if subscription.status == S::Trialing {
            subscription.trial_announced = true;
            return self.save_as(&mut subscription, "subscription.trial_will_end").await;
        } else {
            self.renew(&mut subscription).await?;
        }
        self.save(&mut subscription).await
    }

    async fn end_trial(&mut self, subscription: &mut FakeSubscription) -> Result<(), PaymentError> {
        use ProviderSubscriptionStatus as S;
        let customer: FakeCustomer = self.get(&subscription.customer).await?;
        let is_payable = customer.default_token().is_some() || subscription.total()?.minor() == 0;
        match subscription.trial_end_behavior {
            TrialEndBehavior::Pause if !is_payable => {
                subscription.status = S::Paused;
                Ok(())
            }
            TrialEndBehavior::Cancel if !is_payable => self.end(subscription, S::Canceled).await,
            _ => {
                subscription.status = S::Active;
                subscription.apply_schedule()?;
                subscription.restart(self.now)?;
                self.bill_period(subscription).await
            }
        }
    }

    /// Begins the next period and bills it.
    async fn renew(&mut self, subscription: &mut FakeSubscription) -> Result<(), PaymentError> {
        let (end, next) = (subscription.period.1, subscription.period_number.saturating_add(1));
        let interval_changes = subscription.apply_schedule()?;
        if interval_changes {
            subscription.restart(end)?;
        } else {
            subscription.enter_period(next)?;
        }
        if subscription.collection_paused {
            return Ok(());
        }
        self.bill_period(subscription).await
    }
}
