//! Asking providers for the outcome of payments and refunds.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    events::{Delivery, Subscriber},
    http::Error,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    payment::{PaymentError, PaymentProvider, ProviderEvent, ProviderEventObject, ProviderRefund},
};
use serde::{Deserialize, Serialize};

use super::{
    apply::{Observation, ProviderAnswer, apply},
    attempt_row::AttemptRow,
    change::request_change,
    failure::{no_payment, not_asked},
    handle::PaymentLedger,
    machine::{AttemptState, DisputeState, RefundState, SETTLE_TIME},
    model::{Payment, PaymentId, PaymentRefundId},
    refund::request_refund,
    refund_row::RefundRow,
    rows::{PaymentRow, StoredPayment},
    store,
};

/// Most attempts, and most refunds, that one run of the job asks about.
const CHECKS_PER_RUN: i64 = 500;
/// Number of providers that are asked at the same time.
const CONCURRENT_CHECKS: usize = 8;

impl PaymentLedger {
    /// Asks the providers about all that has no final result: attempts, captures, cancellations, refunds and disputes.
    /// Returns the payment afterwards. An attempt that its provider does not know is failed if it began a minute ago;
    /// before that, its request can still arrive.
    ///
    /// This also happens by itself, after events of the provider and in growing intervals.
    ///
    /// # Errors
    /// 404 if the tenant has no such payment. A provider that can't be reached is no error.
    pub async fn resolve(&self, tenant: TenantId, id: PaymentId) -> Result<Payment, Error> {
        let payment = self.find(tenant, id).await?;
        for attempt in &payment.attempts {
            let is_final =
                matches!(attempt.state(), AttemptState::Succeeded | AttemptState::Failed | AttemptState::Canceled);
            if !is_final || attempt.pending_change().is_some() {
                self.check_attempt(&payment.row, attempt).await?;
            }
        }
        for refund in payment.refunds.iter().filter(|refund| refund.state().is_open()) {
            self.check_refund(&payment, refund).await?;
        }
        for dispute in payment.disputes.iter().filter(|dispute| dispute.state() == DisputeState::Open) {
            self.check_dispute(tenant, id, dispute.attempt, &dispute.provider_dispute_id).await?;
        }
        self.get(tenant, id).await
    }

    /// Asks the provider about an attempt, and stores the answer. Returns whether the provider has answered.
    async fn check_attempt(&self, payment: &PaymentRow, attempt: &AttemptRow) -> Result<bool, Error> {
        let age = self.now().duration_since(attempt.started_at);
        // A request without a response can arrive until then.
        let is_settled = age >= SETTLE_TIME;
        let is_running = attempt.state() == AttemptState::Sent && !is_settled;
        let provider = match self.provider(payment, &attempt.service).await {
            Ok(Some(provider)) => provider,
            missing => {
                // The next question is put off, so that attempts that can't be checked hold no others up.
                self.observe(payment, attempt, ProviderAnswer::Nothing, !is_running).await?;
                let reason = missing.as_ref().err().map(Error::to_string);
                let reason = reason.unwrap_or_else(|| "there are no credentials".to_owned());
                tracing::warn!(
                    target: "omnistack::payments", payment = %payment.id, service = attempt.service.as_str(), %reason,
                    "a payment can't be checked; store the credentials of the service again",
                );
                return Ok(missing.is_ok());
            }
        };
        if attempt.pending_change().is_some() {
            let result = request_change(provider.as_ref(), payment, attempt).await?;
            self.finish_change(payment, attempt, &result, true).await?;
            match result {
                Ok(_) => return Ok(true),
                Err(PaymentError::Unknown { .. } | PaymentError::Unavailable { .. }) => return Ok(false),
                // The provider has refused the change, such as because it was made before: the payment says it.
                Err(_) => {}
            }
        }
        let result = match &attempt.provider_payment_id {
            Some(id) => provider.payment(id).await.map(Some),
            None => provider.find_payment(&attempt.reference).await,
        };
        let is_open = matches!(attempt.state(), AttemptState::Sent | AttemptState::Unknown);
        // Another account knows nothing of the attempt, whatever has become of it.
        let is_absent =
            is_open && is_settled && matches!(result, Ok(None)) && self.is_at_same_account(payment, attempt).await?;
        let answer = match &result {
            Ok(Some(found)) => ProviderAnswer::Payment(found),
            Ok(None) if is_absent => ProviderAnswer::NoPayment,
            Ok(None) | Err(_) => ProviderAnswer::Nothing,
        };
        self.observe(payment, attempt, answer, !is_running).await?;
        Ok(result.is_ok())
    }

    /// Returns whether the credentials of the service are those with which the attempt has begun. After a change, it is
    /// not known whether they are of the same account.
    async fn is_at_same_account(&self, payment: &PaymentRow, attempt: &AttemptRow) -> Result<bool, Error> {
        let environment = payment.environment();
        let since = self.0.accounts.unchanged_since(payment.tenant_id, &attempt.service, environment).await?;
        Ok(since.is_none_or(|since| attempt.started_at >= since))
    }

    async fn observe(
        &self,
        payment: &PaymentRow,
        attempt: &AttemptRow,
        answer: ProviderAnswer<'_>,
        is_check: bool,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.0.db.tenant(payment.tenant_id).begin().await?;
        let mut payment = store::lock(&mut tx, payment.tenant_id, payment.id).await?.ok_or_else(no_payment)?;
        let index = payment.index_of(attempt.number).ok_or_else(no_payment)?;
        apply(&mut tx, &mut payment, index, Observation { is_check, ..Observation::new(answer) }, now).await?;
        Ok(tx.commit().await?)
    }

    /// Asks the provider about a refund, and stores the answer.
    async fn check_refund(&self, payment: &StoredPayment, refund: &RefundRow) -> Result<(), Error> {
        let age = self.now().duration_since(refund.updated_at);
        if refund.state() == RefundState::Sent && age < SETTLE_TIME {
            // Its request may still run.
            return Ok(());
        }
        let result = match self.known_refund(payment, refund).await {
            Ok(result) => result,
            // The next question is put off, so that refunds that can't be checked hold no others up.
            Err(error) => Err(not_asked(&error)),
        };
        self.finish_refund(&payment.row, refund, &result, true).await.map(drop)
    }

    /// Asks the provider for a refund that was made here. One that it does not have is asked for again, with the same
    /// key: the key alone is not enough, because providers forget keys after a day or more.
    async fn known_refund(
        &self,
        payment: &StoredPayment,
        refund: &RefundRow,
    ) -> Result<Result<ProviderRefund, PaymentError>, Error> {
        let attempt = payment.index_of(refund.attempt).and_then(|index| payment.attempts.get(index));
        let attempt = attempt.ok_or_else(no_payment)?;
        let id = attempt.provider_payment_id.as_deref().ok_or_else(no_payment)?;
        let provider = self.require_provider(&payment.row, &attempt.service).await?;
        match provider.refunds(id).await {
            Ok(reported) => {
                if let Some(found) = reported.into_iter().find(|one| is_same(refund, one)) {
                    return Ok(Ok(found));
                }
            }
            Err(PaymentError::NotSupported { .. }) => {}
            Err(error) => return Ok(Err(not_asked(&error))),
        }
        if refund.state() == RefundState::Pending {
            return Ok(Err(not_asked("the refund is not listed")));
        }
        request_refund(provider.as_ref(), &payment.row, id, refund).await
    }

    /// Asks the provider for the refunds of an attempt, and stores the states of those that were made here.
    async fn check_refunds(
        &self,
        provider: &dyn PaymentProvider,
        payment: &StoredPayment,
        attempt: &AttemptRow,
        id: &str,
    ) -> Result<(), Error> {
        let own: Vec<_> = payment.refunds.iter().filter(|refund| refund.attempt == attempt.number).collect();
        if own.is_empty() {
            return Ok(());
        }
        let reported = match provider.refunds(id).await {
            Ok(reported) => reported,
            Err(error) => {
                tracing::warn!(
                    target: "omnistack::payments", payment = %payment.row.id, %error, "refunds could not be read",
                );
                Vec::new()
            }
        };
        for refund in own {
            let found = reported.iter().find(|one| is_same(refund, one));
            let result = match found {
                Some(found) => Ok(found.clone()),
                None if refund.state() == RefundState::Pending => Err(not_asked("the refund is not listed")),
                None => continue,
            };
            self.finish_refund(&payment.row, refund, &result, true).await?;
        }
        Ok(())
    }

    /// Asks the provider about an attempt after an event. Returns whether the provider has answered.
    pub(super) async fn update_after_event(
        &self,
        tenant: TenantId,
        id: PaymentId,
        number: i32,
        provider_id: &str,
    ) -> Result<bool, Error> {
        let payment = self.find(tenant, id).await?;
        let Some(index) = payment.index_of(number) else { return Ok(true) };
        // The event can be the first message with the id.
        let attempt =
            AttemptRow { provider_payment_id: Some(provider_id.to_owned()), ..payment.attempts[index].clone() };
        if !self.check_attempt(&payment.row, &attempt).await? {
            return Ok(false);
        }
        if let Some(provider) = self.provider(&payment.row, &attempt.service).await? {
            let payment = self.find(tenant, id).await?;
            self.check_refunds(provider.as_ref(), &payment, &attempt, provider_id).await?;
        }
        Ok(true)
    }

    async fn check_due_attempt(&self, tenant: TenantId, id: PaymentId, number: i32) -> Result<(), Error> {
        let payment = self.find(tenant, id).await?;
        let Some(index) = payment.index_of(number) else { return Ok(()) };
        self.check_attempt(&payment.row, &payment.attempts[index]).await.map(drop)
    }

    async fn check_due_refund(&self, tenant: TenantId, id: PaymentId, refund: PaymentRefundId) -> Result<(), Error> {
        let payment = self.find(tenant, id).await?;
        let Some(refund) = payment.refunds.iter().find(|one| one.id == refund) else { return Ok(()) };
        self.check_refund(&payment, refund).await
    }
}

/// Returns whether a refund at the provider is one that was made here.
fn is_same(refund: &RefundRow, reported: &ProviderRefund) -> bool {
    refund.provider_refund_id.as_ref() == Some(&reported.id) || reported.reference.as_ref() == Some(&refund.reference)
}

/// The job that asks providers for what is not known. It runs every minute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ResolvePayments {}

#[async_trait]
impl Job for ResolvePayments {
    const NAME: &'static str = "payments.resolve_payments";
    /// The next run follows in a minute.
    const MAX_ATTEMPTS: u32 = 1;

    type State = PaymentLedger;

    async fn run(self, ledger: &PaymentLedger, _: &JobContext) -> Result<(), JobError> {
        let now = ledger.now();
        // The job has no caller, so it searches the payments of all tenants.
        let mut tx = ledger.0.db.all_tenants().begin_read().await?;
        let attempts = store::due_attempts(&mut tx, now, CHECKS_PER_RUN).await?;
        let refunds = store::due_refunds(&mut tx, now, CHECKS_PER_RUN).await?;
        tx.commit().await?;
        // One payment that fails keeps no other from being checked.
        let log = |tenant: TenantId, id: PaymentId, result: Result<(), Error>| {
            if let Err(error) = result {
                tracing::error!(target: "omnistack::payments", %tenant, payment = %id, %error, "a check has failed");
            }
        };
        stream::iter(attempts)
            .for_each_concurrent(CONCURRENT_CHECKS, |(tenant, id, number)| async move {
                log(tenant, id, ledger.check_due_attempt(tenant, id, number).await);
            })
            .await;
        stream::iter(refunds)
            .for_each_concurrent(CONCURRENT_CHECKS, |(tenant, id, refund)| async move {
                log(tenant, id, ledger.check_due_refund(tenant, id, refund).await);
            })
            .await;
        Ok(())
    }
}

/// The subscriber that updates a payment after an event of its provider.
pub(super) struct UpdatePayments(pub(super) PaymentLedger);

#[async_trait]
impl Subscriber for UpdatePayments {
    type Event = ProviderEvent;

    /// Longer than four calls to a provider.
    const TIMEOUT: Duration = Duration::from_secs(90);

    async fn handle(&self, event: ProviderEvent, _: &mut Delivery) -> Result<(), JobError> {
        let id = match &event.object {
            ProviderEventObject::Payment(id) => id,
            ProviderEventObject::Refund { payment, .. } => payment,
            ProviderEventObject::Dispute { payment: Some(payment), .. } => payment,
            _ => return Ok(()),
        };
        // The event has no caller, and its payment can be that of any tenant.
        let mut tx = self.0.0.db.all_tenants().begin_read().await?;
        let found =
            store::attempts_at(&mut tx, &event.provider, event.environment, id, event.reference.as_deref()).await?;
        tx.commit().await?;
        // An event of a tenant's own account is about its own payments.
        let is_own = |tenant: TenantId| event.account.is_none_or(|account| account == tenant);
        for (tenant, payment, number) in found.into_iter().filter(|(tenant, ..)| is_own(*tenant)) {
            if !self.0.update_after_event(tenant, payment, number, id).await? {
                return Err(JobError::retry("the provider could not be asked for the payment"));
            }
            if let ProviderEventObject::Dispute { id: dispute, .. } = &event.object
                && !self.0.check_dispute(tenant, payment, number, dispute).await?
            {
                return Err(JobError::retry("the provider could not be asked for the dispute"));
            }
        }
        Ok(())
    }
}
