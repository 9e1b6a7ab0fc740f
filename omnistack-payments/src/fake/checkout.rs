//! Checkouts, and the page on which customers manage their cards.

use omnistack_core::payment::{
    CheckoutKind, CheckoutStatus, NewCheckout, NewCustomer, PaymentError, PaymentStatus, ProviderEventObject,
    ProviderSubscriptionStatus,
};

use super::{
    account::{FakeTx, rejected},
    card::{CardBehavior, TestCard},
    charge::Charge,
    objects::{
        CheckoutSubject, FakeCheckout, FakeCustomer, FakeDecline, FakeInvoice, FakePayment, FakePortal,
        FakeSubscription, KeyResult,
    },
    subscriptions::{SubscriptionStart, check_terms},
};

/// The next step of the payer of a checkout.
#[derive(Debug)]
pub(super) enum CheckoutStep {
    /// The checkout is complete: the payer returns to this URL.
    Done(String),
    /// The payer must confirm the payment with this id.
    Authenticate(String),
}

impl FakeTx {
    /// Creates a customer. Returns its id.
    pub(super) async fn create_customer(&mut self, new: &NewCustomer) -> Result<String, PaymentError> {
        let request = format!("create_customer {new:?}");
        if let Some(id) = self.replay(&new.idempotency_key, &request).await? {
            return Ok(id);
        }
        let customer = FakeCustomer {
            id: self.new_id("customer"),
            reference: new.reference.clone(),
            name: new.name.clone(),
            email: new.email.clone(),
            methods: Vec::new(),
            default_method: None,
        };
        self.put(&customer).await?;
        self.remember(&new.idempotency_key, &request, KeyResult::Object(customer.id.clone())).await?;
        Ok(customer.id)
    }

    /// Creates a checkout.
    pub(super) async fn create_checkout(&mut self, new: &NewCheckout) -> Result<FakeCheckout, PaymentError> {
        let request = format!("create_checkout {new:?}");
        if let Some(id) = self.replay(&new.idempotency_key, &request).await? {
            return self.get(&id).await;
        }
        self.get::<FakeCustomer>(&new.customer).await?;
        let subject = match &new.kind {
            CheckoutKind::Subscription { price, quantity, trial_end, trial_end_behavior, coupon } => {
                check_terms(price, *quantity, coupon.as_deref())?;
                CheckoutSubject::Subscription {
                    price: price.clone(),
                    quantity: *quantity,
                    trial_end: *trial_end,
                    trial_end_behavior: *trial_end_behavior,
                    coupon: coupon.clone(),
                }
            }
            CheckoutKind::Payment { amount, description } => {
                if amount.minor() <= 0 {
                    return Err(rejected("amount_too_small", "the amount must be greater than zero"));
                }
                CheckoutSubject::Payment { amount: *amount, description: description.clone() }
            }
            CheckoutKind::PaymentMethod => CheckoutSubject::PaymentMethod,
        };
        if new.expires_at <= self.now {
            return Err(rejected("checkout_expired", "the checkout must expire in the future"));
        }
        let checkout = FakeCheckout {
            id: self.new_id("checkout"),
            reference: new.reference.clone(),
            customer: new.customer.clone(),
            subject,
            success_url: new.success_url.clone(),
            cancel_url: new.cancel_url.clone(),
            status: CheckoutStatus::Open,
            subscription: None,
            payment: None,
            expires_at: new.expires_at,
        };
        self.put(&checkout).await?;
        self.remember(&new.idempotency_key, &request, KeyResult::Object(checkout.id.clone())).await?;
        Ok(checkout)
    }

    /// Closes a checkout.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if it is complete.
    pub(super) async fn expire_checkout(&mut self, id: &str) -> Result<(), PaymentError> {
        let mut checkout: FakeCheckout = self.get(id).await?;
        match checkout.status {
            CheckoutStatus::Complete => {
                Err(rejected("checkout_complete", "the checkout is complete; it can't be closed any more"))
            }
            CheckoutStatus::Expired => Ok(()),
            CheckoutStatus::Open => self.close_checkout(&mut checkout).await,
        }
    }

    /// Closes an open checkout, and cancels what waits for its payer.
    pub(super) async fn close_checkout(&mut self, checkout: &mut FakeCheckout) -> Result<(), PaymentError> {
        checkout.status = CheckoutStatus::Expired;
        self.put(&*checkout).await?;
        if let Some(id) = checkout.payment.clone() {
            let mut payment: FakePayment = self.get(&id).await?;
            if payment.status == PaymentStatus::RequiresAction {
                payment.status = PaymentStatus::Canceled;
                payment.due_at = None;
                self.put(&payment).await?;
                self.announce(&payment).await?;
            }
        }
        if let Some(id) = checkout.subscription.clone() {
            let mut subscription: FakeSubscription = self.get(&id).await?;
            if subscription.status == ProviderSubscriptionStatus::Incomplete {
                self.end(&mut subscription, ProviderSubscriptionStatus::IncompleteExpired).await?;
                self.save(&mut subscription).await?;
            }
        }
        let object = ProviderEventObject::Checkout(checkout.id.clone());
        self.emit("checkout.expired", object, Some(&checkout.reference)).await
    }

    /// Stores that a checkout is complete.
    pub(super) async fn complete_checkout(&mut self, checkout: &mut FakeCheckout) -> Result<(), PaymentError> {
        checkout.status = CheckoutStatus::Complete;
        self.put(&*checkout).await?;
        let object = ProviderEventObject::Checkout(checkout.id.clone());
        self.emit("checkout.completed", object, Some(&checkout.reference)).await
    }

    /// Pays an open checkout with a card. The inner error is the response to the payer, after which the transaction is
    /// committed.
    pub(super) async fn pay_checkout(
        &mut self,
        id: &str,
        card: &str,
    ) -> Result<Result<CheckoutStep, PaymentError>, PaymentError> {
        let mut checkout: FakeCheckout = self.get(id).await?;
        if checkout.status != CheckoutStatus::Open || checkout.expires_at <= self.now {
            return Err(rejected("checkout_not_open", "the checkout is not open; it can't be paid"));
        }
        let card = TestCard::find(card)?;
        if let CardBehavior::Declines(..) = card.behavior {
            return self.decline_checkout(&checkout, card).await.map(Err);
        }
        self.attach_card(&checkout.customer, card.token).await?;
        let waiting = match checkout.subject.clone() {
            CheckoutSubject::PaymentMethod => None,
            CheckoutSubject::Payment { amount, description } => {
                let charge = Charge::new(amount, Some(card.token.into()));
                let charge = Charge { description: Some(description), ..charge };
                self.pay_amount(&mut checkout, card, charge).await?
            }
            CheckoutSubject::Subscription { price, quantity, trial_end, trial_end_behavior, coupon } => {
                let start = SubscriptionStart {
                    reference: checkout.reference.clone(),
                    customer: checkout.customer.clone(),
                    price,
                    quantity,
                    trial_end,
                    trial_end_behavior: trial_end_behavior.unwrap_or_default(),
                    coupon,
                };
                self.pay_subscription(&mut checkout, card, start).await?
            }
        };
        if let Some(payment) = waiting {
            return Ok(Ok(CheckoutStep::Authenticate(payment)));
        }
        let success_url = checkout.success_url.clone();
        // The subscription may have completed it.
        let mut checkout: FakeCheckout = self.get(id).await?;
        if checkout.status == CheckoutStatus::Open {
            self.complete_checkout(&mut checkout).await?;
        }
        Ok(Ok(CheckoutStep::Done(success_url)))
    }

    /// Begins the trial of an open checkout without a card. Returns the URL to which the customer returns.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if the checkout asks for a card, or is not open.
    pub(super) async fn start_trial_without_card(&mut self, id: &str) -> Result<String, PaymentError> {
        let mut checkout: FakeCheckout = self.get(id).await?;
        if checkout.status != CheckoutStatus::Open || checkout.expires_at <= self.now {
            return Err(rejected("checkout_not_open", "the checkout is not open; it can't be paid"));
        }
        let CheckoutSubject::Subscription {
            price,
            quantity,
            trial_end: Some(trial_end),
            trial_end_behavior: Some(trial_end_behavior),
            coupon,
        } = checkout.subject.clone()
        else {
            return Err(rejected("payment_method_missing", "the checkout asks for a card; choose one"));
        };
        let start = SubscriptionStart {
            reference: checkout.reference.clone(),
            customer: checkout.customer.clone(),
            price,
            quantity,
            trial_end: Some(trial_end),
            trial_end_behavior,
            coupon,
        };
        let started = self.start_subscription(start).await?;
        checkout.subscription = Some(started.id);
        self.complete_checkout(&mut checkout).await?;
        Ok(checkout.success_url)
    }

    /// Records the failed payment of a checkout, which stays open. Returns the error for the payer.
    async fn decline_checkout(
        &mut self,
        checkout: &FakeCheckout,
        card: TestCard,
    ) -> Result<PaymentError, PaymentError> {
        let (amount, reference) = match &checkout.subject {
            CheckoutSubject::Payment { amount, .. } => (*amount, Some(checkout.reference.clone())),
            CheckoutSubject::Subscription { price, quantity, coupon, .. } => {
                (check_terms(price, *quantity, coupon.as_deref())?.total(*quantity, coupon.as_deref()), None)
            }
            CheckoutSubject::PaymentMethod => {
                return Ok(rejected("card_declined", "the test card is declined; use another card"));
            }
        };
        if amount.minor() <= 0 {
            return Ok(rejected("card_declined", "the test card is declined; use another card"));
        }
        let charge = Charge {
            reference,
            customer: Some(checkout.customer.clone()),
            checkout: Some(checkout.id.clone()),
            ..Charge::new(amount, Some(card.token.into()))
        };
        let payment = self.charge(charge).await?;
        let declined = payment.decline.map(FakeDecline::into_error);
        Ok(declined.unwrap_or_else(|| rejected("card_declined", "the test card is declined; use another card")))
    }

    /// Makes the payment of a checkout. Returns the id of the payment if its payer must confirm it.
    async fn pay_amount(
        &mut self,
        checkout: &mut FakeCheckout,
        card: TestCard,
        charge: Charge,
    ) -> Result<Option<String>, PaymentError> {
        if let Some(waiting) = &checkout.payment {
            let mut payment: FakePayment = self.get(waiting).await?;
            if payment.status == PaymentStatus::RequiresAction {
                if payment.token.as_deref() == Some(card.token) {
                    return Ok(Some(payment.id));
                }
                payment.status = PaymentStatus::Canceled;
                payment.due_at = None;
                self.put(&payment).await?;
                self.announce(&payment).await?;
            }
        }
        let charge = Charge {
            reference: Some(checkout.reference.clone()),
            customer: Some(checkout.customer.clone()),
            checkout: Some(checkout.id.clone()),
            return_url: Some(checkout.success_url.clone()),
            ..charge
        };
        let payment = self.charge(charge).await?;
        checkout.payment = Some(payment.id.clone());
        self.put(&*checkout).await?;
        Ok((payment.status == PaymentStatus::RequiresAction).then_some(payment.id))
    }

    /// Starts the subscription of a checkout, or pays its first invoice with another card. Returns the id of the
    /// payment if its payer must confirm it.
    async fn pay_subscription(
        &mut self,
        checkout: &mut FakeCheckout,
        card: TestCard,
        start: SubscriptionStart,
    ) -> Result<Option<String>, PaymentError> {
        let mut subscription = match checkout.subscription.clone() {
            Some(id) => {
                let started: FakeSubscription = self.get(&id).await?;
                if let Some(invoice) = &started.latest_invoice {
                    self.pay_invoice(invoice, card.token).await?;
                }
                self.get(&id).await?
            }
            None => {
                let started = self.start_subscription(start).await?;
                checkout.subscription = Some(started.id.clone());
                self.put(&*checkout).await?;
                started
            }
        };
        let invoice = match &subscription.latest_invoice {
            Some(id) => self.find::<FakeInvoice>(id).await?,
            None => None,
        };
        let Some(payment) = invoice.and_then(|invoice| invoice.payment) else { return Ok(None) };
        let mut payment: FakePayment = self.get(&payment).await?;
        if payment.status != PaymentStatus::RequiresAction {
            return Ok(None);
        }
        payment.return_url = Some(checkout.success_url.clone());
        self.put(&payment).await?;
        subscription.checkout = Some(checkout.id.clone());
        self.put(&subscription).await?;
        Ok(Some(payment.id))
    }

    /// Creates a session of the page for a customer.
    pub(super) async fn create_portal(&mut self, customer: &str, return_url: &str) -> Result<String, PaymentError> {
        self.get::<FakeCustomer>(customer).await?;
        let id = self.new_id("portal");
        let portal = FakePortal { id: id.clone(), customer: customer.into(), return_url: return_url.into() };
        self.put(&portal).await?;
        Ok(id)
    }
}
