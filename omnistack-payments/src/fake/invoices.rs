//! Invoices of subscriptions: their collection, and what follows from their payment.

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{PaymentError, PaymentStatus, ProviderEventObject, ProviderInvoiceStatus, ProviderSubscriptionStatus},
};

use super::{
    account::{FakeTx, rejected},
    charge::Charge,
    objects::{FakeCheckout, FakeCustomer, FakeInvoice, FakePayment, FakeSubscription, InvoiceReason},
    timing::RETRY_DELAYS,
};

/// The contents of an invoice.
pub(super) struct Bill {
    pub(super) amount: Money,
    pub(super) reason: InvoiceReason,
    pub(super) period: (Timestamp, Timestamp),
    /// Whether the payer is absent.
    pub(super) renewal: bool,
}

impl FakeTx {
    /// Creates an invoice of a subscription, collects it, and changes the subscription by the result. The caller stores
    /// the subscription.
    pub(super) async fn bill(
        &mut self,
        subscription: &mut FakeSubscription,
        bill: Bill,
    ) -> Result<FakeInvoice, PaymentError> {
        let Bill { amount, reason, period, renewal } = bill;
        let credit = subscription.credit.clamp(0, amount.minor().max(0));
        subscription.credit -= credit;
        let id = self.new_id("invoice");
        let mut invoice = FakeInvoice {
            number: format!("FAKE-{}", id.get(id.len().saturating_sub(10)..).unwrap_or_default().to_uppercase()),
            id,
            customer: subscription.customer.clone(),
            subscription: subscription.id.clone(),
            reason,
            status: ProviderInvoiceStatus::Open,
            total: Money::new(amount.minor() - credit, amount.currency()),
            credit,
            paid: 0,
            period,
            attempts: 0,
            payment: None,
            next_attempt_at: None,
            created_at: self.now,
        };
        subscription.latest_invoice = Some(invoice.id.clone());
        if let Some(pending) = &mut subscription.pending
            && reason == InvoiceReason::Update
        {
            pending.invoice.clone_from(&invoice.id);
        }
        self.put(&invoice).await?;
        self.announce_invoice("invoice.created", &invoice).await?;
        if invoice.total.minor() <= 0 {
            self.mark_paid(&mut invoice).await?;
        } else {
            self.collect(&mut invoice, renewal).await?;
        }
        self.follow_invoice(subscription, &mut invoice).await?;
        Ok(invoice)
    }

    /// Charges the default card of the customer for an open invoice. Returns the status of the payment, or `None` if
    /// the customer has no card.
    async fn collect(
        &mut self,
        invoice: &mut FakeInvoice,
        renewal: bool,
    ) -> Result<Option<PaymentStatus>, PaymentError> {
        invoice.attempts += 1;
        invoice.next_attempt_at = None;
        invoice.payment = None;
        let customer: FakeCustomer = self.get(&invoice.customer).await?;
        let Some(token) = customer.default_token().map(str::to_owned) else {
            self.put(invoice).await?;
            self.announce_invoice("invoice.payment_failed", invoice).await?;
            return Ok(None);
        };
        let charge = Charge {
            customer: Some(invoice.customer.clone()),
            subscription: Some(invoice.subscription.clone()),
            invoice: Some(invoice.id.clone()),
            description: Some(format!("Invoice {}", invoice.number)),
            renewal,
            ..Charge::new(invoice.total, Some(token))
        };
        let payment = self.charge(charge).await?;
        match payment.status {
            PaymentStatus::Succeeded => self.mark_paid(invoice).await?,
            PaymentStatus::Failed => {
                self.put(invoice).await?;
                self.announce_invoice("invoice.payment_failed", invoice).await?;
            }
            _ => {
                invoice.payment = Some(payment.id);
                self.put(invoice).await?;
            }
        }
        Ok(Some(payment.status))
    }

    async fn mark_paid(&mut self, invoice: &mut FakeInvoice) -> Result<(), PaymentError> {
        invoice.status = ProviderInvoiceStatus::Paid;
        invoice.paid = invoice.total.minor();
        invoice.payment = None;
        invoice.next_attempt_at = None;
        self.put(invoice).await?;
        self.announce_invoice("invoice.paid", invoice).await
    }

    async fn announce_invoice(&mut self, kind: &str, invoice: &FakeInvoice) -> Result<(), PaymentError> {
        let (id, subscription) = (invoice.id.clone(), Some(invoice.subscription.clone()));
        self.emit(kind, ProviderEventObject::Invoice { id, subscription }, None).await
    }

    /// Changes a subscription by the state of its invoice.
    async fn follow_invoice(
        &mut self,
        subscription: &mut FakeSubscription,
        invoice: &mut FakeInvoice,
    ) -> Result<(), PaymentError> {
        use ProviderSubscriptionStatus as S;
        let paid = invoice.status == ProviderInvoiceStatus::Paid;
        let is_latest = subscription.latest_invoice.as_ref() == Some(&invoice.id);
        match invoice.reason {
            InvoiceReason::Create if paid && subscription.status == S::Incomplete => {
                subscription.status = S::Active;
                if let Some(checkout) = subscription.checkout.take() {
                    let mut checkout: FakeCheckout = self.get(&checkout).await?;
                    self.complete_checkout(&mut checkout).await?;
                }
            }
            InvoiceReason::Update if paid => {
                let pending = subscription.pending.take_if(|pending| pending.invoice == invoice.id);
                if let Some(pending) = pending {
                    subscription.apply_change(pending.price, pending.quantity, pending.at)?;
                }
            }
            InvoiceReason::Cycle if paid => {
                if is_latest && !subscription.status.is_final() {
                    subscription.status = S::Active;
                }
            }
            InvoiceReason::Cycle if invoice.payment.is_none() => {
                let retry = usize::try_from(invoice.attempts.saturating_sub(1)).unwrap_or(usize::MAX);
                match RETRY_DELAYS.get(retry) {
                    Some(delay) => {
                        invoice.next_attempt_at = Some(self.now + *delay);
                        self.put(invoice).await?;
                        if is_latest {
                            subscription.status = S::PastDue;
                        }
                    }
                    None => {
                        invoice.status = ProviderInvoiceStatus::Uncollectible;
                        self.put(invoice).await?;
                        self.announce_invoice("invoice.marked_uncollectible", invoice).await?;
                        self.end(subscription, S::Canceled).await?;
                    }
                }
            }
            // The payment has no result yet, or the app waits for the payer.
            InvoiceReason::Create | InvoiceReason::Update | InvoiceReason::Cycle => {}
        }
        Ok(())
    }

    /// Changes an invoice and its subscription by a payment that has its result.
    pub(super) async fn invoice_settled(
        &mut self,
        mut invoice: FakeInvoice,
        payment: &FakePayment,
    ) -> Result<(), PaymentError> {
        // A void invoice is not paid by a payment that was processed meanwhile.
        if invoice.status != ProviderInvoiceStatus::Open || invoice.payment.as_ref() != Some(&payment.id) {
            return Ok(());
        }
        match payment.status {
            PaymentStatus::Succeeded => self.mark_paid(&mut invoice).await?,
            PaymentStatus::Failed | PaymentStatus::Canceled => {
                invoice.payment = None;
                self.put(&invoice).await?;
                self.announce_invoice("invoice.payment_failed", &invoice).await?;
            }
            _ => return Ok(()),
        }
        let mut subscription: FakeSubscription = self.get(&invoice.subscription).await?;
        self.follow_invoice(&mut subscription, &mut invoice).await?;
        self.save(&mut subscription).await
    }

    /// Pays an open invoice with a card, which becomes the default of the customer. Returns the status of the payment.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if the invoice is not open, or there is no such card.
    pub(super) async fn pay_invoice(&mut self, id: &str, card: &str) -> Result<PaymentStatus, PaymentError> {
        let mut invoice: FakeInvoice = self.get(id).await?;
        if invoice.status != ProviderInvoiceStatus::Open {
            return Err(rejected("invoice_not_open", "the invoice is not open; it can't be paid"));
        }
        self.attach_card(&invoice.customer, card).await?;
        self.cancel_waiting_payment(&mut invoice).await?;
        let status = self.collect(&mut invoice, false).await?.unwrap_or(PaymentStatus::Failed);
        let mut subscription: FakeSubscription = self.get(&invoice.subscription).await?;
        // The schedule of further attempts is not shortened by an attempt of the payer.
        if status == PaymentStatus::Failed && invoice.reason == InvoiceReason::Cycle {
            invoice.attempts = invoice.attempts.saturating_sub(1).max(1);
        }
        self.follow_invoice(&mut subscription, &mut invoice).await?;
        self.save(&mut subscription).await?;
        Ok(status)
    }

    /// Cancels the payment that an invoice waits for, if its payer has not confirmed it.
    async fn cancel_waiting_payment(&mut self, invoice: &mut FakeInvoice) -> Result<(), PaymentError> {
        let Some(id) = invoice.payment.take() else { return Ok(()) };
        let mut payment: FakePayment = self.get(&id).await?;
        if payment.status == PaymentStatus::Processing {
            return Err(rejected("payment_processing", "a payment of the invoice is processed; wait for its result"));
        }
        if payment.status == PaymentStatus::RequiresAction {
            payment.status = PaymentStatus::Canceled;
            payment.due_at = None;
            self.put(&payment).await?;
            self.announce(&payment).await?;
        }
        Ok(())
    }

    /// Makes an open invoice void, and gives the credit back that has reduced it.
    pub(super) async fn void_invoice(
        &mut self,
        subscription: &mut FakeSubscription,
        invoice: &str,
    ) -> Result<(), PaymentError> {
        let mut invoice: FakeInvoice = self.get(invoice).await?;
        if invoice.status != ProviderInvoiceStatus::Open {
            return Ok(());
        }
        let waiting = invoice.payment.clone();
        match self.cancel_waiting_payment(&mut invoice).await {
            // The invoice becomes void anyway: the payment then pays nothing.
            Ok(()) | Err(PaymentError::Rejected { .. }) => {}
            Err(error) => return Err(error),
        }
        invoice.payment = waiting;
        invoice.status = ProviderInvoiceStatus::Void;
        invoice.next_attempt_at = None;
        subscription.credit += invoice.credit;
        self.put(&invoice).await?;
        self.announce_invoice("invoice.voided", &invoice).await
    }

    /// Attempts to collect an invoice again.
    pub(super) async fn invoice_due(&mut self, mut invoice: FakeInvoice) -> Result<(), PaymentError> {
        let mut subscription: FakeSubscription = self.get(&invoice.subscription).await?;
        self.collect(&mut invoice, true).await?;
        self.follow_invoice(&mut subscription, &mut invoice).await?;
        self.save(&mut subscription).await
    }
}
