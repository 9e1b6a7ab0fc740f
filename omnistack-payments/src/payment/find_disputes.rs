//! Disputes whose webhook was lost.
//!
//! Once a day, the accounts of tenants are asked for their disputes of the last months. One that is not stored as its
//! provider has it is read, as after an event.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    http::Error,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    payment::{PaymentError, PaymentProvider, ProviderDispute},
};
use serde::{Deserialize, Serialize};

use super::{
    dispute_rows,
    handle::PaymentLedger,
    machine::DisputeState,
    store::{self, DueCheck},
};

/// Age up to which disputes are asked for. A bank decides most within three months.
const DISPUTE_AGE: Duration = Duration::from_secs(120 * 86_400);
/// Age of a payment up to which its account is asked: a payer can dispute it for four months.
const PAYMENT_AGE: Duration = Duration::from_secs(240 * 86_400);
/// Number of accounts that are asked at the same time.
const CONCURRENT_ACCOUNTS: usize = 4;

/// The job that finds disputes whose webhook was lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FindDisputes {}

#[async_trait]
impl Job for FindDisputes {
    const NAME: &'static str = "payments.find_disputes";
    /// The next run follows in a day.
    const MAX_ATTEMPTS: u32 = 1;
    const TIMEOUT: Duration = Duration::from_secs(60 * 60);

    type State = PaymentLedger;

    async fn run(self, ledger: &PaymentLedger, _: &JobContext) -> Result<(), JobError> {
        let now = ledger.now();
        // The job has no caller, so it asks the accounts of all tenants.
        let mut tx = ledger.0.db.all_tenants().begin_read().await?;
        let accounts = store::accounts_with_money(&mut tx, now - PAYMENT_AGE).await?;
        tx.commit().await?;
        // One account that fails keeps no other from being asked.
        stream::iter(accounts)
            .for_each_concurrent(CONCURRENT_ACCOUNTS, |(tenant, service, environment)| async move {
                let found = ledger.find_disputes(tenant, &service, environment, now - DISPUTE_AGE).await;
                if let Err(error) = found {
                    tracing::error!(
                        target: "omnistack::payments", %tenant, service, %error, "disputes could not be looked for",
                    );
                }
            })
            .await;
        Ok(())
    }
}

impl PaymentLedger {
    /// Stores the disputes of an account that are not known as the provider has them.
    async fn find_disputes(
        &self,
        tenant: TenantId,
        service: &str,
        environment: DataEnvironment,
        since: Timestamp,
    ) -> Result<(), Error> {
        let Some(provider) = self.0.accounts.account(tenant, service, environment).await? else { return Ok(()) };
        let reported = match provider.disputes(since).await {
            Ok(reported) => reported,
            Err(PaymentError::NotSupported { .. }) => return Ok(()),
            Err(error) => {
                tracing::warn!(target: "omnistack::payments", %tenant, service, %error, "disputes were not listed");
                return Ok(());
            }
        };
        for dispute in reported {
            if self.is_stored(tenant, &dispute).await? {
                continue;
            }
            let Some(paid) = &dispute.payment else { continue };
            let attempts = self.attempts_of(tenant, provider.as_ref(), paid).await?;
            for (_, payment, number) in attempts.into_iter().filter(|(of, ..)| *of == tenant) {
                tracing::info!(
                    target: "omnistack::payments", %payment, dispute = dispute.id.as_str(),
                    "a dispute is found of which no webhook has told",
                );
                // The money of the payment can be unknown here as well.
                // Without it, refunds of before the dispute would count as its money. The next run follows.
                if !self.update_after_event(tenant, payment, number, paid).await? {
                    continue;
                }
                self.check_dispute(tenant, payment, number, &dispute.id).await?;
            }
        }
        Ok(())
    }

    async fn is_stored(&self, tenant: TenantId, reported: &ProviderDispute) -> Result<bool, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let stored = dispute_rows::state_of(&mut tx, tenant, &reported.id).await?;
        tx.commit().await?;
        let Some(stored) = stored else { return Ok(false) };
        Ok(stored.after(DisputeState::of(reported.won)) == stored)
    }

    /// Returns the attempts with a payment of the provider. A dispute can name another id of it than the attempt has.
    async fn attempts_of(
        &self,
        tenant: TenantId,
        provider: &dyn PaymentProvider,
        paid: &str,
    ) -> Result<Vec<DueCheck>, Error> {
        let (service, environment) = (provider.name(), provider.environment());
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let found = store::attempts_at(&mut tx, service, environment, paid, None).await?;
        tx.commit().await?;
        if !found.is_empty() {
            return Ok(found);
        }
        // One that the app has not made, or that can't be read now, is left out.
        let Ok(payment) = provider.payment(paid).await else { return Ok(Vec::new()) };
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let reference = payment.reference.as_deref();
        let found = store::attempts_at(&mut tx, service, environment, &payment.id, reference).await?;
        tx.commit().await?;
        Ok(found)
    }
}
