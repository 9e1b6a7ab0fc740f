//! Payments and refunds, as the app asks for them.

use omnistack_core::{
    money::Money,
    payment::{
        MeterReport, NewPayment, NewRefund, PaymentError, PaymentMethodSource, PaymentStatus, ProviderEventObject,
    },
};

use super::{
    account::{FakeTx, rejected},
    card::{CardBehavior, TestCard},
    charge::Charge,
    objects::{FakeCustomer, FakeMeterReport, FakePayment, FakeRefund, KeyResult},
};

/// An object, and whether the response with it is lost.
pub(super) struct Reply<T> {
    pub(super) object: T,
    pub(super) lost: bool,
}

impl<T> Reply<T> {
    pub(super) const fn sent(object: T) -> Self {
        Self { object, lost: false }
    }

    /// Returns the object that the app receives.
    ///
    /// # Errors
    /// [`PaymentError::Unknown`] if the response is lost.
    pub(super) fn receive(self) -> Result<T, PaymentError> {
        if self.lost { Err(lost_response()) } else { Ok(self.object) }
    }
}

/// Returns the error for a request whose response is lost.
pub(super) fn lost_response() -> PaymentError {
    PaymentError::Unknown { message: "the fake has sent no response in time".into() }
}

/// Returns the error of a provider that can't be reached.
pub(super) fn unreachable_provider() -> PaymentError {
    PaymentError::Unavailable { message: "the connection to the fake was refused".into(), retry_after: None }
}

impl FakeTx {
    /// Applies the behavior of a card that concerns the request and not the payment. Returns whether the response is
    /// lost. `reference` names what is charged. After the inner error the transaction is committed: it has the mark
    /// that the request was lost once.
    pub(super) async fn card_faults(
        &mut self,
        token: Option<&str>,
        reference: &str,
    ) -> Result<Result<bool, PaymentError>, PaymentError> {
        let Some(token) = token else { return Ok(Ok(false)) };
        match TestCard::find(token)?.behavior {
            CardBehavior::Unavailable => Ok(Err(unreachable_provider())),
            CardBehavior::LosesResponse => Ok(Ok(true)),
            CardBehavior::LosesRequest if self.is_first(reference).await? => Ok(Err(lost_response())),
            _ => Ok(Ok(false)),
        }
    }

    /// Creates a payment. The inner error is the response to the app, after which the transaction is committed.
    pub(super) async fn create_payment(
        &mut self,
        new: &NewPayment,
    ) -> Result<Result<Reply<FakePayment>, PaymentError>, PaymentError> {
        // The token is secret, so `Debug` does not show it.
        let token = match &new.source {
            PaymentMethodSource::Token(token) => token.as_str(),
            _ => "",
        };
        let request = format!("create_payment {new:?} {token}");
        if let Some(id) = self.replay(&new.idempotency_key, &request).await? {
            return Ok(Ok(Reply::sent(self.get(&id).await?)));
        }
        let token = self.token_of(&new.source, new.customer.as_deref()).await?;
        let lost = match self.card_faults(token.as_deref(), &new.reference).await? {
            Ok(lost) => lost,
            Err(error) => return Ok(Err(error)),
        };
        let charge = Charge {
            reference: Some(new.reference.clone()),
            customer: new.customer.clone(),
            method: new.method,
            capture: new.capture,
            description: new.description.clone(),
            return_url: new.return_url.clone(),
            metadata: new.metadata.clone(),
            ..Charge::new(new.amount, token)
        };
        let payment = self.charge(charge).await?;
        if let Some(decline) = &payment.decline {
            self.remember(&new.idempotency_key, &request, KeyResult::Declined(decline.clone())).await?;
            return Ok(Err(decline.clone().into_error()));
        }
        self.remember(&new.idempotency_key, &request, KeyResult::Object(payment.id.clone())).await?;
        Ok(Ok(Reply { object: payment, lost }))
    }

    /// Returns the payment with a reference: one that has moved money or may do so, or else the newest.
    pub(super) async fn find_payment(&mut self, reference: &str) -> Result<Option<FakePayment>, PaymentError> {
        let all: Vec<FakePayment> = self.with_reference(reference).await?;
        let rank = |payment: &FakePayment| match payment.status {
            PaymentStatus::Succeeded => 3,
            PaymentStatus::Authorized | PaymentStatus::Processing => 2,
            PaymentStatus::RequiresAction => 1,
            PaymentStatus::Failed | PaymentStatus::Canceled => 0,
        };
        // Of several payments of a rank, the last one is returned.
        Ok(all.into_iter().max_by_key(rank))
    }

    /// Takes the money of an authorised payment.
    pub(super) async fn capture_payment(
        &mut self,
        id: &str,
        amount: Money,
        key: &str,
    ) -> Result<FakePayment, PaymentError> {
        let request = format!("capture_payment {id} {amount}");
        let mut payment: FakePayment = self.get(id).await?;
        if self.replay(key, &request).await?.is_some() {
            return Ok(payment);
        }
        if payment.status != PaymentStatus::Authorized {
            let status = payment.status.as_str();
            let message = format!("the payment is {status}; only an authorized payment can be captured");
            return Err(rejected("payment_not_authorized", message));
        }
        if amount.currency() != payment.amount.currency() || !(1..=payment.amount.minor()).contains(&amount.minor()) {
            let message = format!("at most {} can be captured", payment.amount);
            return Err(rejected("amount_too_large", message));
        }
        self.take(&mut payment, amount.minor());
        self.settle(&payment).await?;
        self.remember(key, &request, KeyResult::Object(payment.id.clone())).await?;
        Ok(payment)
    }

    /// Cancels a payment that has taken no money.
    pub(super) async fn cancel_payment(&mut self, id: &str, key: &str) -> Result<FakePayment, PaymentError> {
        let request = format!("cancel_payment {id}");
        let mut payment: FakePayment = self.get(id).await?;
        if self.replay(key, &request).await?.is_some() || payment.status == PaymentStatus::Canceled {
            return Ok(payment);
        }
        if !matches!(payment.status, PaymentStatus::Authorized | PaymentStatus::RequiresAction) {
            let message = format!("the payment is {}; it can't be canceled", payment.status.as_str());
            return Err(rejected("payment_not_cancelable", message));
        }
        payment.status = PaymentStatus::Canceled;
        payment.due_at = None;
        self.settle(&payment).await?;
        self.remember(key, &request, KeyResult::Object(payment.id.clone())).await?;
        Ok(payment)
    }

    /// Sends money of a payment back.
    pub(super) async fn refund_payment(
        &mut self,
        id: &str,
        new: &NewRefund,
    ) -> Result<Reply<FakeRefund>, PaymentError> {
        let request = format!("refund_payment {id} {new:?}");
        let mut payment: FakePayment = self.get(id).await?;
        if let Some(id) = self.replay(&new.idempotency_key, &request).await? {
            return Ok(Reply::sent(self.get(&id).await?));
        }
        if payment.is_charged_back {
            let message = "the payer has the money back after a lost dispute; it can't be sent back again";
            return Err(rejected("payment_charged_back", message));
        }
        let left = payment.captured - payment.refunded;
        let minor = new.amount.minor();
        if new.amount.currency() != payment.amount.currency() || !(1..=left).contains(&minor) {
            let left = Money::new(left, payment.amount.currency());
            return Err(rejected("refund_too_large", format!("at most {left} of the payment can be refunded")));
        }
        payment.refunded += minor;
        payment.refund_count += 1;
        self.put(&payment).await?;
        let refund = FakeRefund {
            id: self.new_id("refund"),
            reference: new.reference.clone(),
            payment: payment.id.clone(),
            amount: new.amount,
            reason: new.reason.clone(),
        };
        self.put(&refund).await?;
        let object = ProviderEventObject::Refund { payment: payment.id.clone(), refund: Some(refund.id.clone()) };
        self.emit("refund.succeeded", object, payment.reference.as_deref()).await?;
        self.remember(&new.idempotency_key, &request, KeyResult::Object(refund.id.clone())).await?;
        let card = payment.token.as_deref().map(TestCard::find).transpose()?;
        let is_lossy = card.is_some_and(|card| card.behavior == CardBehavior::LosesRefundResponse);
        Ok(Reply { object: refund, lost: is_lossy && payment.refund_count == 1 })
    }

    /// Counts usage. Returns whether it was counted before.
    pub(super) async fn count_usage(&mut self, report: &MeterReport) -> Result<bool, PaymentError> {
        let id = format!("{}/{}/{}", self.account.service, self.account.environment, report.identifier);
        if self.find::<FakeMeterReport>(&id).await?.is_some() {
            return Ok(true);
        }
        self.get::<FakeCustomer>(&report.customer).await?;
        let stored = FakeMeterReport {
            id,
            customer: report.customer.clone(),
            meter: report.meter.clone(),
            value: report.value.clone(),
            at: report.at,
        };
        self.put(&stored).await?;
        Ok(false)
    }
}
