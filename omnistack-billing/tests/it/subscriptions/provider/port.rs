//! The calls of the app to the provider in memory.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    async_trait,
    money::Money,
    payment::{
        CancelTime, ChangePreview, ChangeTime, CheckoutStatus, NewCheckout, NewCustomer, NewPayment, NewRefund,
        PaymentError, PaymentMethodKind, PaymentProvider, ProviderCheckout, ProviderCustomer, ProviderEvent,
        ProviderFeature, ProviderInvoice, ProviderInvoiceStatus, ProviderPayment, ProviderProfile, ProviderRefund,
        ProviderSubscription, ProviderSubscriptionStatus, RefundStatus, StoredPaymentMethod, SubscriptionChange,
    },
    usage::DataEnvironment,
    webhook::InboundWebhook,
};

use super::{ScriptedProvider, amount_of, new_invoice, usd};

fn found<T: Clone>(map: &BTreeMap<String, T>, id: &str, object: &'static str) -> Result<T, PaymentError> {
    map.get(id).cloned().ok_or(PaymentError::NotFound { object })
}

#[async_trait]
impl PaymentProvider for ScriptedProvider {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn environment(&self) -> DataEnvironment {
        DataEnvironment::Live
    }

    fn profile(&self) -> ProviderProfile {
        let world = self.world();
        let mut features = vec![ProviderFeature::Subscriptions];
        if !world.charges_later {
            features.push(ProviderFeature::ImmediateChange);
        }
        if !world.has_no_coupons {
            features.push(ProviderFeature::Coupons);
        }
        ProviderProfile {
            label: "Scripted",
            methods: vec![PaymentMethodKind::Card],
            currencies: Vec::new(),
            countries: Vec::new(),
            features,
        }
    }

    fn check_amount(&self, _: Money) -> Result<(), PaymentError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), PaymentError> {
        Ok(())
    }

    fn event(&self, _: &InboundWebhook) -> Option<ProviderEvent> {
        None
    }

    async fn create_customer(&self, new: &NewCustomer) -> Result<ProviderCustomer, PaymentError> {
        self.call("create_customer", &new.idempotency_key, |world| {
            let id = format!("cus_{}", new.idempotency_key);
            world.customers.insert(new.idempotency_key.clone(), id.clone());
            Ok(ProviderCustomer { id })
        })
    }

    async fn create_checkout(&self, new: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        self.call("create_checkout", &new.idempotency_key, |world| {
            let id = format!("cs_{}", new.reference);
            let open = ProviderCheckout {
                id: id.clone(),
                url: Some(format!("https://pay.example/{id}")),
                status: CheckoutStatus::Open,
                reference: Some(new.reference.clone()),
                subscription: None,
                payment: None,
                expires_at: Some(new.expires_at),
            };
            let (known, checkout) = world.checkouts.entry(id).or_insert_with(|| (new.clone(), open));
            if known != new {
                return Err(PaymentError::Rejected {
                    code: Some("idempotency_key_reused".to_owned()),
                    message: format!("{known:?} is not {new:?}"),
                });
            }
            Ok(checkout.clone())
        })
    }

    async fn checkout(&self, id: &str) -> Result<ProviderCheckout, PaymentError> {
        Ok(found(&self.world().checkouts, id, "checkout")?.1)
    }

    async fn expire_checkout(&self, id: &str) -> Result<(), PaymentError> {
        self.call("expire_checkout", id, |world| {
            let (_, checkout) = world.checkouts.get_mut(id).ok_or(PaymentError::NotFound { object: "checkout" })?;
            if checkout.status == CheckoutStatus::Complete {
                return Err(PaymentError::Rejected { code: None, message: "it is complete".to_owned() });
            }
            (checkout.status, checkout.url) = (CheckoutStatus::Expired, None);
            Ok(())
        })
    }

    async fn create_portal(&self, customer: &str, return_url: &str) -> Result<String, PaymentError> {
        Ok(format!("https://pay.example/portal/{customer}?return={return_url}"))
    }

    async fn create_payment(&self, _: &NewPayment) -> Result<ProviderPayment, PaymentError> {
        Err(PaymentError::NotSupported { provider: "fake", operation: "payments" })
    }

    async fn payment(&self, id: &str) -> Result<ProviderPayment, PaymentError> {
        found(&self.world().payments, id, "payment")
    }

    async fn find_payment(&self, reference: &str) -> Result<Option<ProviderPayment>, PaymentError> {
        let world = self.world();
        Ok(world.payments.values().find(|payment| payment.reference.as_deref() == Some(reference)).cloned())
    }

    async fn capture_payment(&self, _: &str, _: Money, _: &str) -> Result<ProviderPayment, PaymentError> {
        Err(PaymentError::NotSupported { provider: "fake", operation: "payments" })
    }

    async fn cancel_payment(&self, _: &str, _: &str) -> Result<ProviderPayment, PaymentError> {
        Err(PaymentError::NotSupported { provider: "fake", operation: "payments" })
    }

    async fn refund_payment(&self, id: &str, new: &NewRefund) -> Result<ProviderRefund, PaymentError> {
        self.call("refund_payment", &new.idempotency_key, |world| {
            if let Some(error) = &world.refund_error {
                return Err(error.clone());
            }
            let payment = world.payments.get_mut(id).ok_or(PaymentError::NotFound { object: "payment" })?;
            payment.refunded = usd(payment.refunded.minor() + new.amount.minor());
            let refund = ProviderRefund {
                id: format!("re_{}", new.reference),
                reference: Some(new.reference.clone()),
                status: RefundStatus::Succeeded,
                amount: new.amount,
            };
            world.refunds.entry(id.to_owned()).or_default().push(refund.clone());
            Ok(refund)
        })
    }

    async fn refunds(&self, payment: &str) -> Result<Vec<ProviderRefund>, PaymentError> {
        Ok(self.world().refunds.get(payment).cloned().unwrap_or_default())
    }

    async fn payment_methods(&self, _: &str) -> Result<Vec<StoredPaymentMethod>, PaymentError> {
        Ok(self.world().methods.clone())
    }

    async fn subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        let mut world = self.world();
        if world.failing_reads > 0 {
            world.failing_reads -= 1;
            return Err(PaymentError::Unavailable { message: "down".to_owned(), retry_after: None });
        }
        found(&world.subscriptions, id, "subscription")
    }

    async fn find_subscription(&self, reference: &str) -> Result<Option<ProviderSubscription>, PaymentError> {
        let world = self.world();
        Ok(world.subscriptions.values().find(|found| found.reference.as_deref() == Some(reference)).cloned())
    }

    async fn preview_change(&self, id: &str, change: &SubscriptionChange) -> Result<ChangePreview, PaymentError> {
        let subscription = found(&self.world().subscriptions, id, "subscription")?;
        let next = amount_of(&change.price, change.quantity);
        let (_, end) = subscription.period.unwrap();
        let (due_now, proration_at, effective_at) = match change.when {
            ChangeTime::Now { proration_at } => (Some(next), proration_at, proration_at),
            ChangeTime::PeriodEnd => (None, end, end),
        };
        Ok(ChangePreview { due_now, next: Some(next), proration_at, effective_at })
    }

    async fn change_subscription(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ProviderSubscription, PaymentError> {
        self.call("change_subscription", &change.idempotency_key, |world| {
            let declines = world.declines_changes;
            let subscription =
                world.subscriptions.get_mut(id).ok_or(PaymentError::NotFound { object: "subscription" })?;
            // With a page, nothing is changed before the customer confirms it there.
            if let ChangeTime::Now { proration_at } = change.when
                && subscription.action_url.is_none()
            {
                let mut item = subscription.items[0].clone();
                (item.price, item.quantity) = (change.price.clone(), change.quantity);
                if declines {
                    subscription.pending_change = Some((item, proration_at + Duration::from_secs(23 * 3600)));
                } else {
                    subscription.items = vec![item];
                }
                let invoice = format!("in_{}", change.idempotency_key);
                let mut new = new_invoice(&invoice, id, amount_of(&change.price, change.quantity), proration_at);
                if !declines {
                    (new.status, new.paid) = (ProviderInvoiceStatus::Paid, new.total);
                }
                subscription.latest_invoice = Some(invoice.clone());
                let changed = subscription.clone();
                world.invoices.insert(invoice, new);
                return Ok(changed);
            }
            Ok(subscription.clone())
        })
    }

    async fn cancel_subscription(
        &self,
        id: &str,
        when: CancelTime,
        key: &str,
    ) -> Result<ProviderSubscription, PaymentError> {
        self.call("cancel_subscription", key, |world| {
            let subscription =
                world.subscriptions.get_mut(id).ok_or(PaymentError::NotFound { object: "subscription" })?;
            match when {
                CancelTime::Now => subscription.status = ProviderSubscriptionStatus::Canceled,
                CancelTime::PeriodEnd => subscription.cancel_at = subscription.period.map(|(_, end)| end),
            }
            Ok(subscription.clone())
        })
    }

    async fn resume_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        self.call("resume_subscription", key, |world| {
            let subscription =
                world.subscriptions.get_mut(id).ok_or(PaymentError::NotFound { object: "subscription" })?;
            subscription.cancel_at = None;
            if subscription.status == ProviderSubscriptionStatus::Paused {
                subscription.status = ProviderSubscriptionStatus::Active;
            }
            Ok(subscription.clone())
        })
    }

    async fn remove_coupon(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        self.call("remove_coupon", key, |world| {
            let subscription =
                world.subscriptions.get_mut(id).ok_or(PaymentError::NotFound { object: "subscription" })?;
            subscription.discounts.clear();
            Ok(subscription.clone())
        })
    }

    async fn invoice(&self, id: &str) -> Result<ProviderInvoice, PaymentError> {
        found(&self.world().invoices, id, "invoice")
    }
}
