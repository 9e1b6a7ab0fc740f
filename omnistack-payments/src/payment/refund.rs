//! Refunds of payments.

use omnistack_core::{
    clock::Timestamp,
    db::Tx,
    http::{Error, FieldError},
    identity::TenantId,
    payment::{NewRefund, PaymentError, PaymentProvider, ProviderRefund, RefundStatus},
};

use super::{
    apply::{Observation, ProviderAnswer, apply},
    failure::{self, no_payment},
    handle::PaymentLedger,
    machine::RefundState,
    model::{Payment, PaymentId, PaymentRefundId, RefundRequest},
    refund_row::RefundRow,
    request_limits::check_key,
    rows::{PaymentRow, StoredPayment},
    store,
};

/// Largest number of refunds of one payment, failed ones included. A provider lists as many at once.
const MAX_REFUNDS: usize = 100;
/// Largest length of a reason, in characters.
const MAX_REASON_CHARS: usize = 500;

impl PaymentLedger {
    /// Sends the money of a payment back, or a part of it. The refund is stored before the provider is asked. Without
    /// an amount it is what is proposed for an overpaid payment, or else what is left of the payment.
    ///
    /// The refund can be pending or unknown; the provider is asked until it is known. A payment with a refund of this
    /// key is returned as it is, unless the provider could not be reached: then it is asked again.
    ///
    /// # Errors
    /// 404 if the tenant has no such payment; 409 `PAYMENT_NOT_REFUNDABLE` if it has no money left, or
    /// 100 refunds; 422 for an amount
    /// that is not more than zero, or more than is left; and the errors of the provider.
    pub async fn refund(&self, tenant: TenantId, id: PaymentId, request: RefundRequest) -> Result<Payment, Error> {
        check_key(&request.key)?;
        let now = self.now();
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let Some(payment) = store::lock(&mut tx, tenant, id).await? else {
            tx.rollback().await?;
            return Err(no_payment());
        };
        let known = payment.refunds.iter().find(|refund| refund.request_key == request.key);
        let refund = match known {
            Some(known) if was_not_sent(known) => again(&payment, known, now),
            Some(_) => {
                tx.rollback().await?;
                return Ok(payment.show());
            }
            None => new_refund(&payment, &request, now),
        };
        let refund = match refund {
            Ok(refund) => refund,
            Err(error) => {
                tx.rollback().await?;
                return Err(error);
            }
        };
        if known.is_some() {
            store::update_refund(&mut tx, tenant, &refund, now).await?;
        } else {
            store::insert_refund(&mut tx, &payment.row, &refund).await?;
        }
        tx.commit().await?;

        let attempt = payment.index_of(refund.attempt).and_then(|index| payment.attempts.get(index));
        let attempt = attempt.ok_or_else(no_payment)?;
        let provider = match self.require_provider(&payment.row, &attempt.service).await {
            Ok(provider) => provider,
            Err(error) => {
                // Otherwise the refund would be made when the account is there again, although it was refused.
                self.finish_refund(&payment.row, &refund, &Err(failure::not_asked(&error)), false).await?;
                return Err(error);
            }
        };
        let Some(provider_id) = &attempt.provider_payment_id else { return Err(no_payment()) };
        let result = request_refund(provider.as_ref(), &payment.row, provider_id, &refund).await?;
        let payment = self.finish_refund(&payment.row, &refund, &result, false).await?;
        match result {
            Ok(_) | Err(PaymentError::Unknown { .. }) => Ok(payment.show()),
            Err(error) => Err(failure::response(&error)),
        }
    }

    /// Stores the result of a refund.
    pub(super) async fn finish_refund(
        &self,
        payment: &PaymentRow,
        refund: &RefundRow,
        result: &Result<ProviderRefund, PaymentError>,
        is_check: bool,
    ) -> Result<StoredPayment, Error> {
        let mut tx = self.0.db.tenant(payment.tenant_id).begin().await?;
        let mut payment = store::lock(&mut tx, payment.tenant_id, payment.id).await?.ok_or_else(no_payment)?;
        self.apply_refund(&mut tx, &mut payment, refund.id, result, is_check).await?;
        tx.commit().await?;
        Ok(payment)
    }

    /// Applies the result of a refund to a payment that the transaction has locked.
    pub(super) async fn apply_refund(
        &self,
        tx: &mut Tx,
        payment: &mut StoredPayment,
        id: PaymentRefundId,
        result: &Result<ProviderRefund, PaymentError>,
        is_check: bool,
    ) -> Result<(), Error> {
        let now = self.now();
        let Some(refund) = payment.refunds.iter_mut().find(|refund| refund.id == id) else { return Ok(()) };
        let before = refund.state();
        let after = match result {
            // A refund that has ended can still fail, because the bank of the payer returns the money.
            Ok(refund) if refund.status == RefundStatus::Pending && !before.is_open() => before,
            Ok(refund) => match refund.status {
                RefundStatus::Pending => RefundState::Pending,
                RefundStatus::Succeeded => RefundState::Succeeded,
                RefundStatus::Failed => RefundState::Failed,
            },
            Err(_) if !before.is_open() => before,
            Err(PaymentError::Unknown { .. }) => RefundState::Unknown,
            // A request that was sent again says nothing of the earlier one if it did not arrive, or has arrived at
            // another account.
            Err(
                PaymentError::Unavailable { .. } | PaymentError::Unauthorized { .. } | PaymentError::NotFound { .. },
            ) if is_check => match before {
                // The process that has asked for it has ended without the answer.
                RefundState::Sent => RefundState::Unknown,
                open => open,
            },
            Err(_) => RefundState::Failed,
        };
        refund.set_state(after);
        refund.set_failure(result.as_ref().err().map(failure::failure).filter(|_| after != RefundState::Succeeded));
        if let Ok(reported) = result {
            refund.provider_refund_id = Some(reported.id.clone());
        }
        refund.checks = if after == before && is_check { refund.checks.saturating_add(1) } else { 0 };
        refund.updated_at = now;
        let (number, refund) = (refund.attempt, refund.clone());
        store::update_refund(tx, payment.row.tenant_id, &refund, now).await?;

        let succeeded = payment
            .refunds
            .iter()
            .filter(|refund| refund.attempt == number && refund.state() == RefundState::Succeeded);
        let sum: i64 = succeeded.map(|refund| refund.amount).sum();
        let Some(index) = payment.index_of(number) else { return Ok(()) };
        let attempt = &payment.attempts[index];
        let refunded = match (before, after) {
            (RefundState::Succeeded, RefundState::Failed) => attempt.refunded - refund.amount,
            // Refunds that were made at the provider are in the amount that it reports of the payment.
            _ => attempt.refunded.max(sum),
        };
        apply(tx, payment, index, Observation::new(ProviderAnswer::Refunded(refunded)), now).await?;
        Ok(())
    }
}

/// Returns whether a refund has failed before its provider was asked for it.
fn was_not_sent(refund: &RefundRow) -> bool {
    let code = refund.error_code.as_deref();
    refund.state() == RefundState::Failed && code.is_some_and(|code| failure::NOT_SENT.contains(&code))
}

/// Returns a refund for which its provider was never asked, as it is asked for again.
fn again(payment: &StoredPayment, refund: &RefundRow, now: Timestamp) -> Result<RefundRow, Error> {
    let attempt = payment.attempts.iter().find(|attempt| attempt.number == refund.attempt);
    let refundable = attempt.map_or(0, |attempt| payment.refundable(attempt));
    if refund.amount > refundable {
        let message = format!("the refund has failed, and only {refundable} is left of the payment now");
        return Err(Error::conflict("PAYMENT_NOT_REFUNDABLE", message));
    }
    let mut refund = RefundRow { checks: 0, updated_at: now, ..refund.clone() };
    refund.set_state(RefundState::Sent);
    refund.set_failure(None);
    Ok(refund)
}

/// Returns the refund that was asked for.
fn new_refund(payment: &StoredPayment, request: &RefundRequest, now: Timestamp) -> Result<RefundRow, Error> {
    let proposal = payment.proposal().filter(|_| request.attempt.is_none());
    let attempt = match request.attempt.or(proposal.map(|proposal| proposal.attempt)) {
        Some(number) => payment.attempts.iter().find(|attempt| attempt.number == number),
        None => payment.attempts.iter().rev().find(|attempt| payment.refundable(attempt) > 0),
    };
    let refundable = attempt.map_or(0, |attempt| payment.refundable(attempt));
    let (Some(attempt), true) = (attempt, refundable > 0) else {
        let message = format!("the payment is {}, and has no money to send back", payment.row.status().as_str());
        return Err(Error::conflict("PAYMENT_NOT_REFUNDABLE", message));
    };
    let amount = request.amount.or(proposal.map(|proposal| proposal.amount)).unwrap_or(refundable);
    if !(1..=refundable).contains(&amount) {
        let message = format!("must be at least 1 and at most {refundable}, which is left of the payment");
        return Err(Error::invalid([FieldError::new("amount", message)]));
    }
    if payment.refunds.len() >= MAX_REFUNDS {
        let message = format!("the payment has {MAX_REFUNDS} refunds, the most of one; refund more at the provider");
        return Err(Error::conflict("PAYMENT_NOT_REFUNDABLE", message));
    }
    let mut refund = RefundRow::new(attempt, &request.key, amount, now);
    refund.reason = request.reason.as_ref().map(|reason| reason.chars().take(MAX_REASON_CHARS).collect());
    Ok(refund)
}

/// Asks the provider for a refund. Its key is that of the refund, so that it is made once however often it is asked
/// for.
pub(super) async fn request_refund(
    provider: &dyn PaymentProvider,
    payment: &PaymentRow,
    provider_id: &str,
    refund: &RefundRow,
) -> Result<Result<ProviderRefund, PaymentError>, Error> {
    let new = NewRefund {
        reference: refund.reference.clone(),
        amount: payment.money(refund.amount)?,
        reason: refund.reason.clone(),
        idempotency_key: refund.reference.clone(),
    };
    Ok(provider.refund_payment(provider_id, &new).await)
}
