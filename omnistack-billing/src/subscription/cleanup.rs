//! The end of subscriptions that the app itself requires: of duplicates, whose payment is refunded, and of those whose
//! payment is lost in a dispute.
//!
//! The attempts are bounded. After the last one an operator finds the subscription in the list, and can begin anew.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    audit::AuditEntry,
    db,
    http::Error,
    identity::{Identity, TenantId},
    jobs::{Job, JobContext, JobError, NewJob},
    money::Money,
    payment::{NewRefund, PaymentError, PaymentProvider, PaymentStatus, ProviderPayment, ProviderRefund, RefundStatus},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    cancel::cancel_now,
    checkout_store,
    errors::{app_store_subscription, no_provider, payment_error},
    handle::{Subscriptions, is_app_store},
    model::{CheckoutId, SubscriptionId},
    store::{self, ExternalKey, StoredSubscription},
};

/// Number of failed attempts after which an operator decides. With the growing delays of the job, they take more than
/// half a day.
const MAX_CLEANUP_ATTEMPTS: i32 = 24;
/// Time after which the payment of a duplicate is looked at again, if it was not decided.
const DECISION_PATIENCE: Duration = Duration::from_hours(1);
/// The failure of a refund that the bank has returned.
const REFUND_RETURNED: &str = "the money could not be sent back to the payer; refund it in another way";
/// Largest length of the failure that operators see, in characters.
const MAX_FAILURE_CHARS: usize = 500;

/// The state of the end of a subscription that the app requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CleanupState {
    /// The provider is asked to cancel it.
    Canceling,
    /// The provider is asked to refund its payment.
    Refunding,
    /// It has ended, and what had to be refunded is refunded.
    Done,
    /// All attempts have failed: an operator ends or refunds it.
    Failed,
}

impl CleanupState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Canceling => "canceling",
            Self::Refunding => "refunding",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// The end of a subscription that the app requires, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredCleanup {
    pub(super) state: CleanupState,
    /// The number of failed attempts of the round.
    pub(super) attempts: i32,
    /// The number of times that an operator has begun anew. A provider remembers the failure of an idempotency key, so
    /// each round has its own.
    pub(super) round: i32,
    /// The failure of the last attempt.
    pub(super) error: Option<String>,
}

impl StoredCleanup {
    pub(super) const fn new(state: CleanupState) -> Self {
        Self { state, attempts: 0, round: 0, error: None }
    }

    const fn is_open(&self) -> bool {
        matches!(self.state, CleanupState::Canceling | CleanupState::Refunding)
    }

    const fn is_done(&self) -> bool {
        matches!(self.state, CleanupState::Done)
    }
}

/// The job that ends a subscription at its provider, and refunds the payment of a duplicate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CleanUpSubscription {
    pub(super) tenant: TenantId,
    pub(super) subscription: SubscriptionId,
}

impl CleanUpSubscription {
    /// Returns the job to enqueue. There is one for each subscription.
    pub(super) fn to_job(&self) -> NewJob {
        NewJob::new(self.clone()).unique(self.subscription.to_string()).tenant(self.tenant)
    }
}

/// The result of an attempt that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CleanupProgress {
    Done,
    /// The payment is not decided yet, so it can't be refunded.
    WaitsForPayment,
}

/// The failure of an attempt.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct CleanupFailure {
    message: String,
    /// Whether each further attempt would fail.
    is_final: bool,
}

impl From<PaymentError> for CleanupFailure {
    fn from(error: PaymentError) -> Self {
        Self { message: error.to_string(), is_final: false }
    }
}

impl From<Error> for CleanupFailure {
    fn from(error: Error) -> Self {
        Self { message: error.to_string(), is_final: false }
    }
}

#[async_trait]
impl Job for CleanUpSubscription {
    const NAME: &'static str = "billing.clean_up_subscription";
    const MAX_ATTEMPTS: u32 = 24;
    const TIMEOUT: Duration = Duration::from_secs(2 * 60);

    type State = Subscriptions;

    async fn run(self, subscriptions: &Subscriptions, _: &JobContext) -> Result<(), JobError> {
        let row = subscriptions.get_row(self.tenant, self.subscription).await?;
        let Some((row, cleanup)) = row.and_then(|row| Some((row.clone(), row.cleanup.filter(StoredCleanup::is_open)?)))
        else {
            return Ok(());
        };
        let failure = match subscriptions.clean_up(&row, &cleanup).await {
            Ok(CleanupProgress::Done) => {
                return Ok(subscriptions.set_cleanup(&row, CleanupState::Done).await?);
            }
            Ok(CleanupProgress::WaitsForPayment) => return Err(JobError::snooze(DECISION_PATIENCE)),
            Err(failure) => failure,
        };
        if subscriptions.note_cleanup_failure(&row, &failure).await? {
            return Ok(());
        }
        Err(failure.into())
    }
}

impl Subscriptions {
    /// Begins the end of a subscription anew, after all attempts have failed. Returns `None` if there is no such
    /// subscription.
    ///
    /// # Errors
    /// 409 `NOTHING_TO_RETRY` if its end has not failed; 409 `APP_STORE_SUBSCRIPTION` if it was bought in an app store.
    pub(super) async fn retry_cleanup(
        &self,
        caller: &Identity,
        id: SubscriptionId,
    ) -> Result<Option<StoredSubscription>, Error> {
        // An operator names no tenant.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let found = store::get(&mut tx, id).await?;
        tx.commit().await?;
        let Some(found) = found else { return Ok(None) };
        if is_app_store(&found.external.provider) {
            return Err(app_store_subscription());
        }
        let tenant = found.tenant;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        self.0.accounts.lock_account_in(&mut tx, tenant).await?;
        let Some(mut row) = store::lock(&mut tx, id).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        let Some(failed) = row.cleanup.take().filter(|cleanup| cleanup.state == CleanupState::Failed) else {
            tx.rollback().await?;
            let message = "the end of the subscription has not failed; there is nothing to retry";
            return Err(Error::conflict("NOTHING_TO_RETRY", message));
        };
        let round = failed.round.saturating_add(1);
        // A subscription that is canceled already is no failure of the first step.
        row.cleanup = Some(StoredCleanup { round, ..StoredCleanup::new(CleanupState::Canceling) });
        store::save(&mut tx, &row, self.now()).await?;
        row.version += 1;
        let entry = AuditEntry::new("subscription.cleanup_retried").actor(caller).for_tenant(tenant);
        let entry = entry.resource("subscription", id).details(json!({ "round": round }));
        self.0.audit.record_in(&mut tx, entry).await?;
        let job = CleanUpSubscription { tenant, subscription: id };
        self.0.jobs.enqueue_in(&mut tx, job.to_job()).await?;
        tx.commit().await?;
        Ok(Some(row))
    }

    /// Cancels a subscription at its provider, and refunds the payment of a duplicate. After a lost dispute, the bank
    /// has taken the money back, so nothing is refunded.
    async fn clean_up(
        &self,
        row: &StoredSubscription,
        cleanup: &StoredCleanup,
    ) -> Result<CleanupProgress, CleanupFailure> {
        let provider = self.provider(Some(&row.external.provider))?;
        if provider.environment() != row.external.environment {
            return Err(no_provider().into());
        }
        if cleanup.state == CleanupState::Canceling {
            cancel_now(provider.as_ref(), &row.external.id, &format!("end-{}-{}", row.id, cleanup.round)).await?;
            self.refresh(&provider, &row.external.id).await?;
            if !row.state.is_duplicate {
                return Ok(CleanupProgress::Done);
            }
            self.set_cleanup(row, CleanupState::Refunding).await?;
        }
        match self.refund_duplicate(row, provider.as_ref(), cleanup.round).await {
            // It would be rejected again.
            Err(error @ (PaymentError::Rejected { .. } | PaymentError::NotFound { .. })) => {
                Err(CleanupFailure { message: error.to_string(), is_final: true })
            }
            result => Ok(result?),
        }
    }

    /// Stores that the refund of a duplicate has failed after the provider had accepted it, as banks report days later.
    /// An operator decides.
    pub(super) async fn note_returned_refund(
        &self,
        provider: &dyn PaymentProvider,
        payment: &ProviderPayment,
    ) -> Result<(), Error> {
        let Some(subscription) = &payment.subscription else { return Ok(()) };
        let key = ExternalKey {
            provider: provider.name().to_owned(),
            environment: provider.environment(),
            id: subscription.clone(),
        };
        let row = self.find(&key).await?.filter(|row| row.state.is_duplicate);
        let Some(row) = row.filter(|row| row.cleanup.as_ref().is_some_and(StoredCleanup::is_done)) else {
            return Ok(());
        };
        if payment.captured.minor() <= payment.refunded.minor() {
            return Ok(());
        }
        let refunds = match provider.refunds(&payment.id).await {
            Ok(refunds) => refunds,
            Err(PaymentError::NotFound { .. } | PaymentError::NotSupported { .. }) => return Ok(()),
            Err(error) => return Err(payment_error(error)),
        };
        let prefix = format!("duplicate-{}-", row.id);
        let is_own = |refund: &&ProviderRefund| refund.reference.as_ref().is_some_and(|text| text.starts_with(&prefix));
        let mut own = refunds.iter().filter(is_own).peekable();
        // A refund that is not decided yet, or that has succeeded in another attempt, is no failure.
        if own.peek().is_none() || !own.all(|refund| refund.status == RefundStatus::Failed) {
            return Ok(());
        }
        let fail = |cleanup: &mut StoredCleanup| {
            (cleanup.state, cleanup.error) = (CleanupState::Failed, Some(REFUND_RETURNED.to_owned()));
        };
        if self.update_cleanup(&row, StoredCleanup::is_done, fail).await?.is_some() {
            let (tenant, subscription) = (row.tenant, row.id);
            tracing::error!(
                target: "omnistack::billing", %tenant, %subscription,
                "the refund of a duplicate subscription has failed at the bank; refund it, or retry it by the API"
            );
        }
        Ok(())
    }

    /// Changes the stored end of a subscription. Returns `None` if its end is not as expected.
    async fn update_cleanup(
        &self,
        row: &StoredSubscription,
        is_expected: fn(&StoredCleanup) -> bool,
        change: impl FnOnce(&mut StoredCleanup),
    ) -> Result<Option<StoredCleanup>, Error> {
        let mut tx = self.0.db.tenant(row.tenant).begin().await?;
        // Who changes the subscription stores the whole row.
        self.0.accounts.lock_account_in(&mut tx, row.tenant).await?;
        let stored = store::lock(&mut tx, row.id).await?;
        let Some(mut stored) = stored.filter(|stored| stored.cleanup.as_ref().is_some_and(is_expected)) else {
            tx.rollback().await?;
            return Ok(None);
        };
        if let Some(cleanup) = &mut stored.cleanup {
            change(cleanup);
        }
        store::save(&mut tx, &stored, self.now()).await?;
        if let Some(failed) = stored.cleanup.as_ref().filter(|cleanup| cleanup.state == CleanupState::Failed) {
            let entry = AuditEntry::new("subscription.cleanup_failed").for_tenant(row.tenant);
            let details = json!({ "attempts": failed.attempts, "error": failed.error });
            let entry = entry.resource("subscription", row.id).details(details);
            self.0.audit.record_in(&mut tx, entry).await?;
        }
        tx.commit().await?;
        Ok(stored.cleanup)
    }

    async fn set_cleanup(&self, row: &StoredSubscription, state: CleanupState) -> Result<(), Error> {
        let change = |cleanup: &mut StoredCleanup| (cleanup.state, cleanup.error) = (state, None);
        self.update_cleanup(row, StoredCleanup::is_open, change).await.map(drop)
    }

    /// Stores the failure of an attempt. Returns whether it was the last one; the operators are told then.
    async fn note_cleanup_failure(&self, row: &StoredSubscription, failure: &CleanupFailure) -> Result<bool, Error> {
        let changed = self
            .update_cleanup(row, StoredCleanup::is_open, |cleanup| {
                cleanup.attempts = cleanup.attempts.saturating_add(1);
                cleanup.error = Some(failure.message.chars().take(MAX_FAILURE_CHARS).collect());
                if failure.is_final || cleanup.attempts >= MAX_CLEANUP_ATTEMPTS {
                    cleanup.state = CleanupState::Failed;
                }
            })
            .await?;
        let Some(cleanup) = changed else { return Ok(true) };
        if cleanup.state != CleanupState::Failed {
            return Ok(false);
        }
        let (tenant, subscription, attempts) = (row.tenant, row.id, cleanup.attempts);
        tracing::error!(
            target: "omnistack::billing", %tenant, %subscription, attempts, error = %failure,
            "a subscription could not be canceled or refunded at the provider; do it there, or retry it by the API"
        );
        Ok(true)
    }

    /// Sends back what was paid for a duplicate. There is nothing to send back for a trial, nor with a coupon for the
    /// whole price.
    async fn refund_duplicate(
        &self,
        row: &StoredSubscription,
        provider: &dyn PaymentProvider,
        round: i32,
    ) -> Result<CleanupProgress, PaymentError> {
        let Some(payment) = self.payment_of_duplicate(row, provider).await? else {
            let is_trial = row.state.receipt_invoice.is_none() && row.state.trial_end.is_some();
            return if is_trial || costs_nothing(row, provider).await? {
                Ok(CleanupProgress::Done)
            } else {
                Err(PaymentError::NotFound { object: "payment" })
            };
        };
        let paid = provider.payment(&payment).await?;
        if paid.status == PaymentStatus::Processing {
            return Ok(CleanupProgress::WaitsForPayment);
        }
        // All that is left is refunded at once, so a second refund of another round is for nothing, or rejected.
        let left = paid.captured.minor() - paid.refunded.minor();
        if left <= 0 || paid.status != PaymentStatus::Succeeded {
            return Ok(CleanupProgress::Done);
        }
        let refund = NewRefund {
            reference: format!("duplicate-{}-{round}", row.id),
            amount: Money::new(left, paid.captured.currency()),
            reason: Some("duplicate".to_owned()),
            idempotency_key: format!("refund-duplicate-{}-{round}", row.id),
        };
        let refunded = provider.refund_payment(&payment, &refund).await?;
        if refunded.status == RefundStatus::Failed {
            let code = Some("refund_failed".to_owned());
            return Err(PaymentError::Rejected { code, message: REFUND_RETURNED.to_owned() });
        }
        Ok(CleanupProgress::Done)
    }

    /// Returns the id of the payment of a duplicate: that of its checkout.
    async fn payment_of_duplicate(
        &self,
        row: &StoredSubscription,
        provider: &dyn PaymentProvider,
    ) -> Result<Option<String>, PaymentError> {
        let unknown = |error: db::Error| PaymentError::Unknown { message: error.to_string() };
        let Some(reference) = &row.reference else { return Ok(None) };
        if let Ok(id) = reference.parse::<CheckoutId>() {
            let mut tx = self.0.db.tenant(row.tenant).begin_read().await.map_err(unknown)?;
            let found = checkout_store::get(&mut tx, id).await.map_err(unknown)?;
            tx.commit().await.map_err(unknown)?;
            if let Some(external) = found.and_then(|checkout| checkout.external_id)
                && let Some(payment) = provider.checkout(&external).await?.payment
            {
                return Ok(Some(payment));
            }
        }
        Ok(provider.find_payment(reference).await?.map(|found| found.id))
    }
}

/// Returns whether the invoice of a subscription is of nothing.
async fn costs_nothing(row: &StoredSubscription, provider: &dyn PaymentProvider) -> Result<bool, PaymentError> {
    let Some(invoice) = &row.state.latest_invoice else { return Ok(false) };
    Ok(provider.invoice(invoice).await?.total.minor() == 0)
}
