//! Charges of test cards, and what becomes of payments afterwards.

use std::collections::BTreeMap;

use omnistack_core::{
    money::Money,
    payment::{
        CaptureMode, CheckoutStatus, DeclineReason, PaymentError, PaymentMethodKind, PaymentMethodSource,
        PaymentStatus, ProviderEventObject,
    },
};

use super::{
    account::{FakeTx, rejected},
    card::{CardBehavior, TestCard},
    objects::{FakeCheckout, FakeCustomer, FakeDecline, FakeDispute, FakeInvoice, FakeMethod, FakePayment},
    price::share,
    timing::{ACTION_LIFETIME, AUTHORIZATION_LIFETIME, DISPUTE_DELAY, PROCESSING_DURATION},
};

/// The share of an amount that the fake keeps, in hundredths of a percent.
const FEE_BASIS_POINTS: i128 = 290;

/// The fixed part of a fee, in hundredths of a unit of the currency.
const FEE_HUNDREDTHS: i128 = 30;

/// The year in which test cards expire.
const CARD_EXPIRY: (u8, u16) = (12, 2040);

/// Returns the fee of a payment.
pub(super) fn fee(amount: Money) -> Money {
    let unit = 10_i128.pow(amount.currency().exponent().map_or(0, u32::from));
    let variable = share(i128::from(amount.minor()), FEE_BASIS_POINTS, 10_000);
    Money::new(variable.saturating_add(share(unit, FEE_HUNDREDTHS, 100)), amount.currency())
}

/// A charge to make.
pub(super) struct Charge {
    pub(super) reference: Option<String>,
    pub(super) amount: Money,
    pub(super) customer: Option<String>,
    /// The token of the card. `None` if the payer chooses it on a page.
    pub(super) token: Option<String>,
    pub(super) method: PaymentMethodKind,
    pub(super) capture: CaptureMode,
    pub(super) subscription: Option<String>,
    pub(super) invoice: Option<String>,
    pub(super) checkout: Option<String>,
    pub(super) description: Option<String>,
    pub(super) return_url: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    /// Whether the charge is for a further period of a subscription, without its payer.
    pub(super) renewal: bool,
}

impl Charge {
    pub(super) fn new(amount: Money, token: Option<String>) -> Self {
        Self {
            reference: None,
            amount,
            customer: None,
            token,
            method: PaymentMethodKind::Card,
            capture: CaptureMode::Automatic,
            subscription: None,
            invoice: None,
            checkout: None,
            description: None,
            return_url: None,
            metadata: BTreeMap::new(),
            renewal: false,
        }
    }
}

fn decline(reason: DeclineReason, code: &str) -> FakeDecline {
    let message = format!("the test card is declined with `{code}`; use another card");
    FakeDecline { reason, code: code.into(), message }
}

fn fail(payment: &mut FakePayment, decline: FakeDecline) {
    payment.status = PaymentStatus::Failed;
    payment.decline = Some(decline);
    payment.due_at = None;
}

impl FakeTx {
    /// Returns the token of the card that a source means.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if there is no such card, or the customer has none.
    pub(super) async fn token_of(
        &mut self,
        source: &PaymentMethodSource,
        customer: Option<&str>,
    ) -> Result<Option<String>, PaymentError> {
        let stored = match customer {
            Some(id) => Some(self.get::<FakeCustomer>(id).await?),
            None => None,
        };
        match source {
            PaymentMethodSource::ChosenByPayer => Ok(None),
            PaymentMethodSource::CustomerDefault => match stored.as_ref().and_then(FakeCustomer::default_token) {
                Some(token) => Ok(Some(token.to_owned())),
                None => Err(rejected("payment_method_missing", "the customer has no payment method; add one first")),
            },
            PaymentMethodSource::Token(token) => {
                let mut methods = stored.iter().flat_map(|customer| &customer.methods);
                let known = methods.find(|method| method.id == *token).map(|method| method.token.clone());
                let card = known.unwrap_or_else(|| token.clone());
                Ok(Some(TestCard::find(&card)?.token.to_owned()))
            }
        }
    }

    /// Stores a card of a customer and makes it the default.
    pub(super) async fn attach_card(&mut self, customer: &str, card: &str) -> Result<String, PaymentError> {
        let token = TestCard::find(card)?.token;
        let mut customer: FakeCustomer = self.get(customer).await?;
        let known = customer.methods.iter().find(|method| method.token == token).map(|method| method.id.clone());
        let id = known.unwrap_or_else(|| self.new_id("method"));
        if customer.methods.iter().all(|method| method.id != id) {
            customer.methods.push(FakeMethod { id: id.clone(), token: token.into(), expires: CARD_EXPIRY });
        }
        customer.default_method = Some(id);
        self.put(&customer).await?;
        let reference = customer.reference.clone();
        self.emit("customer.updated", ProviderEventObject::Customer(customer.id), Some(&reference)).await?;
        Ok(token.to_owned())
    }

    /// Makes a charge. Its result is in the status of the payment; a card that behaves otherwise than by its status
    /// must have been asked before.
    pub(super) async fn charge(&mut self, charge: Charge) -> Result<FakePayment, PaymentError> {
        let Charge { reference, amount, customer, token, method, capture, subscription, invoice, .. } = charge;
        if amount.minor() <= 0 {
            return Err(rejected("amount_too_small", "the amount must be greater than zero"));
        }
        let mut payment = FakePayment {
            id: self.new_id("payment"),
            reference,
            customer,
            subscription,
            invoice,
            checkout: charge.checkout,
            token,
            method,
            capture,
            status: PaymentStatus::RequiresAction,
            amount,
            captured: 0,
            refunded: 0,
            fee: 0,
            decline: None,
            description: charge.description,
            return_url: charge.return_url,
            metadata: charge.metadata,
            refund_count: 0,
            disputed: false,
            is_charged_back: false,
            due_at: None,
            created_at: self.now,
        };
        self.apply_card(&mut payment, charge.renewal)?;
        self.put(&payment).await?;
        self.announce(&payment).await?;
        Ok(payment)
    }

    /// Sets the status of a payment by the behavior of its card.
    fn apply_card(&self, payment: &mut FakePayment, renewal: bool) -> Result<(), PaymentError> {
        let behavior = match &payment.token {
            Some(token) => TestCard::find(token)?.behavior,
            None => CardBehavior::Authenticates,
        };
        match behavior {
            // Without the payer, the card is charged by the agreement that was confirmed at first.
            CardBehavior::Authenticates if !renewal => {
                payment.status = PaymentStatus::RequiresAction;
                payment.due_at = Some(self.now + ACTION_LIFETIME);
            }
            CardBehavior::Declines(reason, code) => fail(payment, decline(reason, code)),
            CardBehavior::DeclinesRenewals if renewal => {
                fail(payment, decline(DeclineReason::InsufficientFunds, "insufficient_funds"));
            }
            CardBehavior::SucceedsLater | CardBehavior::DeclinesLater => {
                payment.status = PaymentStatus::Processing;
                payment.due_at = Some(self.now + PROCESSING_DURATION);
            }
            _ => self.succeed(payment),
        }
        Ok(())
    }

    /// Takes or reserves the money of a payment.
    fn succeed(&self, payment: &mut FakePayment) {
        payment.due_at = None;
        if payment.capture == CaptureMode::Manual {
            payment.status = PaymentStatus::Authorized;
            payment.due_at = Some(self.now + AUTHORIZATION_LIFETIME);
            return;
        }
        self.take(payment, payment.amount.minor());
    }

    /// Takes money of a payment.
    pub(super) fn take(&self, payment: &mut FakePayment, minor: i64) {
        payment.status = PaymentStatus::Succeeded;
        payment.captured = minor;
        payment.fee = fee(Money::new(minor, payment.amount.currency())).minor();
        let behavior = payment.token.as_deref().and_then(|token| TestCard::find(token).ok()).map(|card| card.behavior);
        payment.due_at = (behavior == Some(CardBehavior::Disputes)).then(|| self.now + DISPUTE_DELAY);
    }

    /// Emits the event of a payment's status.
    pub(super) async fn announce(&mut self, payment: &FakePayment) -> Result<(), PaymentError> {
        let kind = format!("payment.{}", payment.status.as_str());
        self.emit(&kind, ProviderEventObject::Payment(payment.id.clone()), payment.reference.as_deref()).await
    }

    /// Stores a payment whose status has changed, and what follows from it for its invoice and its checkout.
    pub(super) async fn settle(&mut self, payment: &FakePayment) -> Result<(), PaymentError> {
        self.put(payment).await?;
        self.announce(payment).await?;
        if let Some(id) = &payment.invoice {
            let invoice: FakeInvoice = self.get(id).await?;
            return self.invoice_settled(invoice, payment).await;
        }
        if let Some(id) = &payment.checkout
            && payment.status != PaymentStatus::Failed
            && payment.status != PaymentStatus::Canceled
        {
            let mut checkout: FakeCheckout = self.get(id).await?;
            if checkout.status == CheckoutStatus::Open {
                checkout.payment = Some(payment.id.clone());
                self.complete_checkout(&mut checkout).await?;
            }
        }
        Ok(())
    }

    /// Lets the payer of a payment confirm it, with a card if the payment has none yet, or fail to.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if the payment does not wait for its payer, or there is no such card.
    pub(super) async fn authenticate(
        &mut self,
        id: &str,
        card: Option<&str>,
        confirmed: bool,
    ) -> Result<FakePayment, PaymentError> {
        let mut payment: FakePayment = self.get(id).await?;
        if payment.status != PaymentStatus::RequiresAction {
            let message = format!("the payment is {}; it does not wait for its payer", payment.status.as_str());
            return Err(rejected("payment_not_waiting", message));
        }
        if !confirmed {
            let decline = decline(DeclineReason::AuthenticationRequired, "authentication_required");
            fail(&mut payment, decline);
        } else if payment.token.is_none() {
            let token = TestCard::find(card.unwrap_or("tok_ok"))?.token;
            payment.token = Some(token.into());
            self.apply_card(&mut payment, false)?;
            if payment.status == PaymentStatus::RequiresAction {
                // The payer confirms on the same page.
                self.succeed(&mut payment);
            }
        } else {
            self.succeed(&mut payment);
        }
        self.settle(&payment).await?;
        Ok(payment)
    }

    /// Makes the change of a payment that is due.
    pub(super) async fn payment_due(&mut self, mut payment: FakePayment) -> Result<(), PaymentError> {
        match payment.status {
            PaymentStatus::Succeeded => {
                payment.due_at = None;
                self.put(&payment).await?;
                // The payer may have disputed it before. An error here would keep all that is due from happening.
                if payment.disputed {
                    return Ok(());
                }
                self.open_dispute(&payment.id, None).await.map(drop)
            }
            PaymentStatus::Processing => {
                let token = payment.token.as_deref().unwrap_or_default();
                if TestCard::find(token)?.behavior == CardBehavior::DeclinesLater {
                    fail(&mut payment, decline(DeclineReason::Generic, "generic_decline"));
                } else {
                    self.succeed(&mut payment);
                }
                self.settle(&payment).await
            }
            PaymentStatus::RequiresAction => {
                let expired = decline(DeclineReason::AuthenticationRequired, "authentication_required");
                fail(&mut payment, expired);
                self.settle(&payment).await
            }
            PaymentStatus::Authorized | PaymentStatus::Canceled | PaymentStatus::Failed => {
                payment.due_at = None;
                if payment.status == PaymentStatus::Authorized {
                    payment.status = PaymentStatus::Canceled;
                    return self.settle(&payment).await;
                }
                self.put(&payment).await
            }
        }
    }

    /// Opens a dispute of a payment, or of a part of it in minor units. Returns its id.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if no money was taken, or the payment is disputed already.
    pub(super) async fn open_dispute(&mut self, payment: &str, part: Option<i64>) -> Result<String, PaymentError> {
        let mut payment: FakePayment = self.get(payment).await?;
        let left = payment.captured - payment.refunded;
        if part.is_some_and(|part| !(1..=left).contains(&part)) {
            return Err(rejected("amount_too_large", format!("at most {left} can be disputed")));
        }
        if payment.captured == 0 || payment.disputed {
            return Err(rejected("payment_not_disputable", "the payment has taken no money, or is disputed already"));
        }
        payment.disputed = true;
        self.put(&payment).await?;
        let amount = Money::new(part.unwrap_or(left), payment.amount.currency());
        let (id, payment_id, created_at) = (self.new_id("dispute"), payment.id.clone(), self.now);
        let dispute = FakeDispute { id, payment: payment_id, amount, won: None, created_at };
        self.put(&dispute).await?;
        self.announce_dispute("dispute.created", &dispute, payment.reference.as_deref()).await?;
        Ok(dispute.id)
    }

    /// Decides a dispute. One that is lost can still be won.
    ///
    /// # Errors
    /// [`PaymentError::Rejected`] if it is decided.
    pub(super) async fn decide_dispute(&mut self, id: &str, won: bool) -> Result<(), PaymentError> {
        let mut dispute: FakeDispute = self.get(id).await?;
        if dispute.won == Some(true) || dispute.won == Some(won) {
            return Err(rejected("dispute_decided", "the dispute is decided"));
        }
        dispute.won = Some(won);
        self.put(&dispute).await?;
        let mut payment: FakePayment = self.get(&dispute.payment).await?;
        payment.is_charged_back = !won;
        self.put(&payment).await?;
        self.announce_dispute("dispute.closed", &dispute, payment.reference.as_deref()).await
    }

    async fn announce_dispute(
        &mut self,
        kind: &str,
        dispute: &FakeDispute,
        reference: Option<&str>,
    ) -> Result<(), PaymentError> {
        let FakeDispute { id, payment, won, .. } = dispute;
        let object = ProviderEventObject::Dispute { id: id.clone(), payment: Some(payment.clone()), won: *won };
        self.emit(kind, object, reference).await
    }
}
