//! The jobs of subscriptions.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db,
    http::Error,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    payment::PaymentError,
};
use serde::{Deserialize, Serialize};

use super::{
    checkout_store::{self, StoredCheckout},
    cleanup::CleanUpSubscription,
    errors::payment_error,
    handle::{Subscriptions, is_app_store},
    machine::{SubscriptionFact, TRIAL_ENDING_NOTICE},
    model::SubscriptionId,
    store::{self, DueSearch, StoredSubscription},
};

/// Number of rows that are searched for at once.
const ROWS_PER_SEARCH: i64 = 200;
/// Time after which the result of a change is read from the provider.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// Time after which the job that ends a subscription is enqueued again, if it has failed for good. It is shorter than the
/// time between two reads of the subscription, which count as changes of it.
const CLEANUP_TIMEOUT: Duration = Duration::from_hours(1);
/// Time after which a subscription is read again although the provider has reported no change.
const MAX_STATE_AGE: Duration = Duration::from_hours(24);
/// Time after which a checkout that was not paid is deleted.
const UNPAID_CHECKOUT_RETENTION: Duration = Duration::from_hours(90 * 24);
/// Time before the end of a period at which the card is checked.
const CARD_CHECK_LEAD: Duration = Duration::from_hours(7 * 24);

/// The job that lets time pass for subscriptions: grace and discounts end, trials are about to end, and changes whose
/// responses were lost are read. It runs every five minutes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AdvanceSubscriptions {}

#[async_trait]
impl Job for AdvanceSubscriptions {
    const NAME: &'static str = "billing.advance_subscriptions";

    type State = Subscriptions;

    async fn run(self, subscriptions: &Subscriptions, _: &JobContext) -> Result<(), JobError> {
        let now = subscriptions.now();
        let mut failure = None;
        // One subscription that fails keeps no other from being advanced.
        let mut note = |tenant: TenantId, error: Error| {
            tracing::error!(target: "omnistack::billing", %tenant, %error, "a subscription could not be advanced");
            failure = Some(error);
        };
        for (search, at) in [
            (DueSearch::GraceEnded, now),
            (DueSearch::DiscountEnded, now),
            (DueSearch::TrialEnding, now + TRIAL_ENDING_NOTICE),
        ] {
            for (tenant, id) in subscriptions.due(search, at).await? {
                if let Err(error) = subscriptions.apply_now(tenant, id, &SubscriptionFact::TimePassed).await {
                    note(tenant, error);
                }
            }
        }
        for (tenant, id) in subscriptions.due(DueSearch::Requested, now - REQUEST_TIMEOUT).await? {
            if let Err(error) = subscriptions.read_again(tenant, id).await {
                note(tenant, error);
            }
        }
        for (tenant, id) in subscriptions.due(DueSearch::Unended, now - CLEANUP_TIMEOUT).await? {
            let job = CleanUpSubscription { tenant, subscription: id };
            subscriptions.0.jobs.enqueue(job.to_job()).await?;
        }
        for checkout in subscriptions.due_checkouts(now).await? {
            if let Err(error) = subscriptions.end_due_checkout(&checkout, now).await {
                note(checkout.tenant_id, error);
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The job that reads all running subscriptions from their providers, in case that an event was lost, and checks the
/// cards of those that renew soon. It also deletes old checkouts that were not paid. It runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReconcileSubscriptions {
    /// Whether those are read, too, that were read within a day.
    #[serde(default)]
    pub(super) all: bool,
}

#[async_trait]
impl Job for ReconcileSubscriptions {
    const NAME: &'static str = "billing.reconcile_subscriptions";
    // After a timeout, the next attempt continues where this one stopped.
    const TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);

    type State = Subscriptions;

    async fn run(self, subscriptions: &Subscriptions, _: &JobContext) -> Result<(), JobError> {
        let now = subscriptions.now();
        let mut tx = subscriptions.0.db.all_tenants().begin().await?;
        checkout_store::delete_unpaid(&mut tx, now - UNPAID_CHECKOUT_RETENTION).await?;
        tx.commit().await?;
        let before = if self.all { now } else { now - MAX_STATE_AGE };
        let mut failure = None;
        for (tenant, id) in subscriptions.due(DueSearch::Unchecked, before).await? {
            // One subscription that fails keeps no other from being read.
            if let Err(error) = subscriptions.read_again(tenant, id).await {
                tracing::error!(target: "omnistack::billing", %tenant, %id, %error, "a subscription could not be read");
                failure = Some(error);
            }
        }
        for (tenant, id) in subscriptions.due(DueSearch::Renewing, now + CARD_CHECK_LEAD).await? {
            if let Err(error) = subscriptions.check_card(tenant, id).await {
                tracing::warn!(target: "omnistack::billing", %tenant, %id, %error, "a card could not be checked");
                failure = Some(error);
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Subscriptions {
    /// Returns all subscriptions that are due.
    async fn due(&self, search: DueSearch, at: Timestamp) -> Result<Vec<(TenantId, SubscriptionId)>, db::Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            // The job has no caller, so it searches the subscriptions of all tenants.
            let mut tx = self.0.db.all_tenants().begin_read().await?;
            let found = store::due(&mut tx, search, at, after, ROWS_PER_SEARCH).await?;
            tx.commit().await?;
            after = found.last().map(|(_, id)| *id);
            let is_last = i64::try_from(found.len()).is_ok_and(|count| count < ROWS_PER_SEARCH);
            all.extend(found);
            if is_last {
                return Ok(all);
            }
        }
    }

    pub(super) async fn get_row(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> Result<Option<StoredSubscription>, db::Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let row = store::get(&mut tx, id).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Reads a subscription from its provider, and forgets a change whose response was lost: its result was read.
    /// Returns `None` if there is no such subscription. Subscriptions of app stores, and of providers at which the app no
    /// longer has an account, stay as they are.
    pub(super) async fn read_again(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
    ) -> Result<Option<StoredSubscription>, Error> {
        let Some(row) = self.get_row(tenant, id).await? else { return Ok(None) };
        let provider = self.0.providers.get(&row.external.provider);
        let provider = provider.filter(|provider| provider.environment() == row.external.environment);
        let Some(provider) = provider.filter(|_| !is_app_store(&row.external.provider)) else { return Ok(Some(row)) };
        let read = self.refresh(provider, &row.external.id).await?;
        self.forget_request(&row, row.request.as_ref()).await?;
        Ok(read)
    }

    /// Tells the owners of a tenant if its card expires before the next payment.
    async fn check_card(&self, tenant: TenantId, id: SubscriptionId) -> Result<(), Error> {
        let Some(row) = self.get_row(tenant, id).await? else { return Ok(()) };
        let (Some(customer), Some((_, until))) = (&row.customer, row.state.period) else { return Ok(()) };
        let Some(provider) = self.0.providers.get(&row.external.provider) else { return Ok(()) };
        if row.state.card_checked_until == Some(until) || provider.environment() != row.external.environment {
            return Ok(());
        }
        let methods = match provider.payment_methods(customer).await {
            Ok(methods) => methods,
            // The provider does not tell when a card expires.
            Err(PaymentError::NotSupported { .. } | PaymentError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(payment_error(error)),
        };
        let card = methods.into_iter().find(|method| method.is_default);
        let expires =
            card.and_then(|card| card.expires).map(|expiry| (expiry.month, expiry.year)).filter(|(month, year)| {
                let renewal = jiff::tz::TimeZone::UTC.to_datetime(until.to_jiff());
                let renewal = (i32::from(renewal.year()), i32::from(renewal.month()));
                (i32::from(*year), i32::from(*month)) < renewal
            });
        self.apply_now(tenant, id, &SubscriptionFact::CardChecked { until, expires }).await?;
        Ok(())
    }

    /// Returns all checkouts that should have ended.
    async fn due_checkouts(&self, now: Timestamp) -> Result<Vec<StoredCheckout>, db::Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let mut tx = self.0.db.all_tenants().begin_read().await?;
            let found = checkout_store::due(&mut tx, now, after, ROWS_PER_SEARCH).await?;
            tx.commit().await?;
            after = found.last().map(|checkout| checkout.id);
            let is_last = i64::try_from(found.len()).is_ok_and(|count| count < ROWS_PER_SEARCH);
            all.extend(found);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Asks the provider for a checkout that should have ended, or closes one that the provider never had.
    async fn end_due_checkout(&self, checkout: &StoredCheckout, now: Timestamp) -> Result<(), Error> {
        let (Some(id), Some(provider)) = (&checkout.external_id, self.0.providers.get(&checkout.provider)) else {
            let mut tx = self.0.db.tenant(checkout.tenant_id).begin().await?;
            checkout_store::set_ended(&mut tx, checkout.id, "expired", None, now).await?;
            return Ok(tx.commit().await?);
        };
        self.sync_checkout(provider, id).await?;
        // A provider that still has it open is asked to close it.
        let mut tx = self.0.db.tenant(checkout.tenant_id).begin_read().await?;
        let open = checkout_store::get(&mut tx, checkout.id).await?;
        tx.commit().await?;
        if open.is_some_and(|checkout| checkout.status == "open") {
            self.close_checkout(checkout).await?;
        }
        Ok(())
    }
}
