//! Capturing and canceling a payment.

use omnistack_core::{
    db::StatementGroup,
    http::{Error, FieldError},
    identity::TenantId,
    payment::{PaymentError, PaymentProvider, ProviderPayment},
};

use super::{
    apply::{Observation, ProviderAnswer, apply},
    attempt_row::AttemptRow,
    failure::{self, no_payment, outcome_unknown},
    handle::PaymentLedger,
    machine::{AttemptState, main_attempt},
    model::{Payment, PaymentId, ProviderChange},
    rows::{PaymentRow, StoredPayment},
    store,
};

impl PaymentLedger {
    /// Takes the money of an authorized payment: the whole amount, or `amount` in minor units. What is not taken is
    /// released.
    ///
    /// If the outcome is not known, the returned payment is still authorized, with a
    /// [`pending_change`](super::PaymentAttempt::pending_change); the provider is asked until it is known.
    ///
    /// # Errors
    /// 404 if the tenant has no such payment; 409 `PAYMENT_NOT_CAPTURABLE` if it is not authorized; 409
    /// `PAYMENT_CHANGE_PENDING` if another change of it has no result yet; 422 for an amount that is not more than
    /// zero, or more than is authorized; and the errors of the provider, such as 503 `PAYMENT_PROVIDER_UNAVAILABLE`.
    pub async fn capture(&self, tenant: TenantId, id: PaymentId, amount: Option<i64>) -> Result<Payment, Error> {
        let change = ProviderChange::Capture;
        self.change(tenant, id, change, |payment| {
            let states = payment.states();
            // Once an attempt has taken the money, another that holds more is not captured.
            let index = main_attempt(&states).filter(|index| states[*index] == AttemptState::Authorized);
            let Some(index) = index else {
                let message = format!("the payment is {}; only an authorized payment can be captured", status(payment));
                return Err(Error::conflict("PAYMENT_NOT_CAPTURABLE", message));
            };
            let amount = amount.unwrap_or(payment.row.amount);
            if !(1..=payment.row.amount).contains(&amount) {
                let message = format!("must be at least 1 and at most {}", payment.row.amount);
                return Err(Error::invalid([FieldError::new("amount", message)]));
            }
            Ok((index, amount))
        })
        .await
    }

    /// Cancels a payment whose money was not taken. A payment that is canceled already is returned. Of a payment with
    /// several attempts that can still take money, such as a forced one, one is canceled with each call; so what is
    /// held beside the attempt that has taken the money is released.
    ///
    /// # Errors
    /// 404 if the tenant has no such payment; 409 `PAYMENT_NOT_CANCELABLE` if the money was taken, or if it has failed;
    /// 409 `PAYMENT_OUTCOME_UNKNOWN` if it is not known whether the money was taken; 409 `PAYMENT_CHANGE_PENDING`; and
    /// the errors of the provider.
    pub async fn cancel(&self, tenant: TenantId, id: PaymentId) -> Result<Payment, Error> {
        let known = self.find(tenant, id).await?;
        let states = known.states();
        if main_attempt(&states).is_some_and(|index| states[index] == AttemptState::Canceled) {
            return Ok(known.show());
        }
        self.change(tenant, id, ProviderChange::Cancel, |payment| {
            let states = payment.states();
            let main = main_attempt(&states).unwrap_or_default();
            let is_open = |state: &AttemptState| {
                matches!(state, AttemptState::Authorized | AttemptState::RequiresAction | AttemptState::Processing)
            };
            if states.get(main).is_some_and(is_open) {
                return Ok((main, payment.row.amount));
            }
            if let Some(surplus) = states.iter().position(is_open) {
                return Ok((surplus, payment.row.amount));
            }
            match states.get(main) {
                Some(AttemptState::Sent | AttemptState::Unknown) => Err(outcome_unknown()),
                _ => {
                    let message = format!("the payment is {}; refund it if its money was taken", status(payment));
                    Err(Error::conflict("PAYMENT_NOT_CANCELABLE", message))
                }
            }
        })
        .await
    }

    /// Stores a change, asks the provider for it, and stores the result. `select` returns the index of the attempt and
    /// the amount.
    async fn change(
        &self,
        tenant: TenantId,
        id: PaymentId,
        change: ProviderChange,
        select: impl FnOnce(&StoredPayment) -> Result<(usize, i64), Error>,
    ) -> Result<Payment, Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let Some(mut payment) = store::lock(&mut tx, tenant, id).await? else {
            tx.rollback().await?;
            return Err(no_payment());
        };
        let (index, amount) = match select(&payment) {
            Ok(selected) => selected,
            Err(error) => {
                tx.rollback().await?;
                return Err(error);
            }
        };
        let attempt = payment.attempts.get_mut(index).ok_or_else(no_payment)?;
        let pending = attempt.pending_change().zip(attempt.pending_amount);
        if pending.is_some_and(|pending| pending != (change, amount)) {
            tx.rollback().await?;
            let message = "another change of the payment has no result yet; get the payment again in a minute";
            return Err(Error::conflict("PAYMENT_CHANGE_PENDING", message));
        }
        // An earlier request for the same change may still take effect, also if this one does not arrive.
        let is_repeated = pending.is_some();
        attempt.set_pending_change(Some((change, amount)));
        let attempt = attempt.clone();
        let mut changes = StatementGroup::new(tx.dialect());
        store::update_attempt(&mut changes, tenant, &attempt, self.now());
        changes.execute(&mut tx).await?;
        tx.commit().await?;

        let provider = match self.require_provider(&payment.row, &attempt.service).await {
            Ok(provider) => provider,
            Err(error) => {
                // Otherwise the change would be made when the account is there again, although it was refused.
                let refused = Err(failure::not_asked(&error));
                self.finish_change(&payment.row, &attempt, &refused, is_repeated).await?;
                return Err(error);
            }
        };
        let result = request_change(provider.as_ref(), &payment.row, &attempt).await?;
        let payment = self.finish_change(&payment.row, &attempt, &result, is_repeated).await?;
        match result {
            // The payment shows that the change has no result yet.
            Ok(_) | Err(PaymentError::Unknown { .. }) => Ok(payment.show()),
            Err(error) => Err(failure::response(&error)),
        }
    }

    /// Stores the result of a change. A change without a conclusive result stays pending.
    pub(super) async fn finish_change(
        &self,
        payment: &PaymentRow,
        attempt: &AttemptRow,
        result: &Result<ProviderPayment, PaymentError>,
        is_check: bool,
    ) -> Result<StoredPayment, Error> {
        let now = self.now();
        let mut tx = self.0.db.tenant(payment.tenant_id).begin().await?;
        let mut payment = store::lock(&mut tx, payment.tenant_id, payment.id).await?.ok_or_else(no_payment)?;
        let index = payment.index_of(attempt.number).ok_or_else(no_payment)?;
        let (answer, ends_change) = match result {
            Ok(payment) => (ProviderAnswer::Payment(payment), true),
            Err(PaymentError::Unknown { .. }) => (ProviderAnswer::Nothing, false),
            // Nothing was changed. A request that was sent again keeps its place, because an earlier one may still
            // take effect.
            Err(PaymentError::Unavailable { .. } | PaymentError::Unauthorized { .. }) if is_check => {
                (ProviderAnswer::Nothing, false)
            }
            Err(_) => (ProviderAnswer::Nothing, true),
        };
        // Another request may have ended this change and begun another one.
        let is_same = payment.attempts[index].pending_change() == attempt.pending_change();
        let observation = Observation { ends_change: ends_change && is_same, is_check, ..Observation::new(answer) };
        apply(&mut tx, &mut payment, index, observation, now).await?;
        tx.commit().await?;
        Ok(payment)
    }
}

/// Asks the provider for the pending change of an attempt. The key is that of the change, so that it takes effect once
/// however often it is asked for.
pub(super) async fn request_change(
    provider: &dyn PaymentProvider,
    payment: &PaymentRow,
    attempt: &AttemptRow,
) -> Result<Result<ProviderPayment, PaymentError>, Error> {
    let amount = attempt.pending_amount.unwrap_or(payment.amount);
    let Some(id) = &attempt.provider_payment_id else { return Err(outcome_unknown()) };
    Ok(match attempt.pending_change() {
        Some(ProviderChange::Cancel) => provider.cancel_payment(id, &format!("{}_cancel", attempt.reference)).await,
        Some(ProviderChange::Capture) | None => {
            let key = format!("{}_capture_{amount}", attempt.reference);
            provider.capture_payment(id, payment.money(amount)?, &key).await
        }
    })
}

fn status(payment: &StoredPayment) -> &'static str {
    payment.row.status().as_str()
}
