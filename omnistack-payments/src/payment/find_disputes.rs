//! Disputes whose webhook was lost.
//!
//! Once a day, the stored disputes that can still change are read, and the accounts of tenants are asked for the disputes
//! that were opened since the [search](super::dispute_searches) of the day before. One that is not stored as its provider
//! has it is read, as after an event.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    clock::Timestamp,
    http::Error,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    payment::{PaymentError, PaymentProvider, ProviderDispute},
};
use serde::{Deserialize, Serialize};

use super::{
    dispute_rows::{self, ChangeableDispute},
    dispute_searches::{self, DISPUTE_AGE, DisputeSearch},
    handle::PaymentLedger,
    machine::DisputeState,
    model::PaymentId,
    store::{self, DueCheck},
};
use crate::credentials::AccountKey;

/// Age of a payment up to which its account is asked: a payer can dispute it for four months.
const PAYMENT_AGE: Duration = Duration::from_secs(240 * 86_400);
/// Number of accounts, and of stored disputes, that are asked about at the same time.
const CONCURRENT_CHECKS: usize = 4;
/// Number of stored disputes that are read from the database at once.
const DISPUTES_PER_QUERY: i64 = 200;
/// Largest number of pages of an account that one run reads. The next run goes on.
const PAGES_PER_RUN: usize = 20;
/// Time of a run after which no further stored dispute is read.
const STORED_TIME: Duration = Duration::from_secs(20 * 60);
/// Time of a run after which no further page and no further dispute is read.
const RUN_TIME: Duration = Duration::from_secs(45 * 60);

/// The job that finds disputes whose webhook was lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FindDisputes {}

#[async_trait]
impl Job for FindDisputes {
    const NAME: &'static str = "payments.find_disputes";
    /// The next run follows in a day.
    const MAX_ATTEMPTS: u32 = 1;
    /// Longer than [`RUN_TIME`] and the calls that are in progress then.
    const TIMEOUT: Duration = Duration::from_secs(60 * 60);

    type State = PaymentLedger;

    async fn run(self, ledger: &PaymentLedger, _: &JobContext) -> Result<(), JobError> {
        let now = ledger.now();
        ledger.check_stored_disputes(now - DISPUTE_AGE, now + STORED_TIME).await?;
        // The job has no caller, so it asks the accounts of all tenants.
        let mut tx = ledger.0.db.all_tenants().begin_read().await?;
        let accounts = dispute_searches::accounts_with_money(&mut tx, now - PAYMENT_AGE).await?;
        tx.commit().await?;
        // One account that fails keeps no other from being asked.
        stream::iter(accounts)
            .for_each_concurrent(CONCURRENT_CHECKS, |account| async move {
                if let Err(error) = ledger.search_disputes(&account, now + RUN_TIME).await {
                    let AccountKey { tenant, service, .. } = &account;
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
    /// Reads the stored disputes that were opened since a time and can still change, until `deadline`.
    async fn check_stored_disputes(&self, since: Timestamp, deadline: Timestamp) -> Result<(), Error> {
        let mut after = None;
        loop {
            let mut tx = self.0.db.all_tenants().begin_read().await?;
            let disputes = dispute_rows::changeable(&mut tx, since, after, DISPUTES_PER_QUERY).await?;
            tx.commit().await?;
            let Some(last) = disputes.last().map(|dispute| dispute.id).filter(|_| self.now() < deadline) else {
                return Ok(());
            };
            after = Some(last);
            // One dispute that fails keeps no other from being read.
            stream::iter(disputes)
                .for_each_concurrent(CONCURRENT_CHECKS, |dispute| async move {
                    if self.now() >= deadline {
                        return;
                    }
                    if let Err(error) = self.check_stored_dispute(&dispute).await {
                        let (payment, dispute) = (dispute.payment_id, dispute.provider_dispute_id.as_str());
                        tracing::error!(
                            target: "omnistack::payments", %payment, dispute, %error, "a dispute could not be checked",
                        );
                    }
                })
                .await;
        }
    }

    /// Reads a stored dispute, and stores what has changed.
    async fn check_stored_dispute(&self, dispute: &ChangeableDispute) -> Result<(), Error> {
        let ChangeableDispute { tenant_id: tenant, payment_id, attempt, provider_dispute_id: id, .. } = dispute;
        let payment = self.find(*tenant, *payment_id).await?;
        let Some(found) = payment.index_of(*attempt).map(|index| &payment.attempts[index]) else { return Ok(()) };
        let environment = payment.row.environment();
        let Some(provider) = self.0.accounts.account(*tenant, &found.service, environment).await? else {
            return Ok(());
        };
        let reported = match provider.dispute(id).await {
            Ok(reported) => reported,
            Err(PaymentError::NotSupported { .. } | PaymentError::NotFound { .. }) => return Ok(()),
            Err(error) => {
                tracing::warn!(
                    target: "omnistack::payments", payment = %payment_id, dispute = id.as_str(), %error,
                    "a dispute was not read",
                );
                return Ok(());
            }
        };
        let paid = found.provider_payment_id.as_ref().or(reported.payment.as_ref());
        if let Some(paid) = paid
            && !is_known(dispute.state()?, &reported)
        {
            self.take_dispute(*tenant, *payment_id, *attempt, paid, id).await?;
        }
        Ok(())
    }

    /// Reads the pages of disputes of an account, until `deadline`, and stores those that are not known as the provider
    /// has them.
    async fn search_disputes(&self, account: &AccountKey, deadline: Timestamp) -> Result<(), Error> {
        let AccountKey { tenant, service, environment } = account;
        let Some(provider) = self.0.accounts.account(*tenant, service, *environment).await? else { return Ok(()) };
        let account_since = self.0.accounts.unchanged_since(*tenant, service, *environment).await?;
        let mut tx = self.0.db.tenant(*tenant).begin_read().await?;
        let stored = dispute_searches::find(&mut tx, account).await?;
        tx.commit().await?;
        let mut search = DisputeSearch::next(stored, account_since, self.now());
        for _ in 0..PAGES_PER_RUN {
            if self.now() >= deadline {
                return Ok(());
            }
            let page = match provider.disputes(search.since, search.page.as_deref()).await {
                Ok(page) => page,
                Err(PaymentError::NotSupported { .. }) => return Ok(()),
                // The token is of an earlier run. The pages before it are read again.
                Err(PaymentError::Rejected { .. } | PaymentError::NotFound { .. }) if search.page.is_some() => {
                    search.page = None;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(target: "omnistack::payments", %tenant, service, %error, "disputes were not listed");
                    // Other accounts are asked first in the next run.
                    return self.save_search(account, &search).await;
                }
            };
            for dispute in &page.disputes {
                if self.now() >= deadline {
                    return Ok(());
                }
                let taken = self.take_listed(*tenant, provider.as_ref(), dispute).await;
                // One dispute that fails keeps no other from being stored.
                if let Err(error) = &taken {
                    let dispute = dispute.id.as_str();
                    tracing::error!(
                        target: "omnistack::payments", %tenant, service, dispute, %error, "a dispute could not be stored",
                    );
                }
                search.missed |= !taken.unwrap_or(false);
            }
            search.take_page(page.next);
            self.save_search(account, &search).await?;
            if search.page.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn save_search(&self, account: &AccountKey, search: &DisputeSearch) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(account.tenant).begin().await?;
        dispute_searches::save(&mut tx, account, search, self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Stores a dispute that a provider lists, unless it is known as the provider has it. Returns `false` if the provider
    /// could not be asked for all of it.
    async fn take_listed(
        &self,
        tenant: TenantId,
        provider: &dyn PaymentProvider,
        dispute: &ProviderDispute,
    ) -> Result<bool, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let stored = dispute_rows::state_of(&mut tx, tenant, &dispute.id).await?;
        tx.commit().await?;
        let Some(paid) = dispute.payment.as_deref().filter(|_| !stored.is_some_and(|state| is_known(state, dispute)))
        else {
            return Ok(true);
        };
        let Some(attempts) = self.attempts_of(tenant, provider, paid).await? else { return Ok(false) };
        let mut is_stored = true;
        for (_, payment, number) in attempts.into_iter().filter(|(of, ..)| *of == tenant) {
            is_stored &= self.take_dispute(tenant, payment, number, paid, &dispute.id).await?;
        }
        Ok(is_stored)
    }

    /// Reads a payment and its dispute, and stores them. Returns whether the provider has answered.
    async fn take_dispute(
        &self,
        tenant: TenantId,
        payment: PaymentId,
        number: i32,
        paid: &str,
        dispute: &str,
    ) -> Result<bool, Error> {
        tracing::info!(
            target: "omnistack::payments", %payment, dispute,
            "a dispute is found of whose state no webhook has told",
        );
        // The money of the payment can be unknown here as well. Without it, refunds of before the dispute would count as
        // its money.
        Ok(Box::pin(self.update_after_event(tenant, payment, number, paid)).await?
            && self.check_dispute(tenant, payment, number, dispute).await?)
    }

    /// Returns the attempts with a payment of the provider. A dispute can name another id of it than the attempt has.
    /// Returns `None` if the provider could not be asked for the payment.
    async fn attempts_of(
        &self,
        tenant: TenantId,
        provider: &dyn PaymentProvider,
        paid: &str,
    ) -> Result<Option<Vec<DueCheck>>, Error> {
        let (service, environment) = (provider.name(), provider.environment());
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let found = store::attempts_at(&mut tx, service, environment, paid, None).await?;
        tx.commit().await?;
        if !found.is_empty() {
            return Ok(Some(found));
        }
        let payment = match provider.payment(paid).await {
            Ok(payment) => payment,
            Err(
                PaymentError::Unavailable { .. } | PaymentError::Unknown { .. } | PaymentError::Unauthorized { .. },
            ) => {
                return Ok(None);
            }
            // One that the app has not made.
            Err(_) => return Ok(Some(Vec::new())),
        };
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let reference = payment.reference.as_deref();
        let found = store::attempts_at(&mut tx, service, environment, &payment.id, reference).await?;
        tx.commit().await?;
        Ok(Some(found))
    }
}

/// Returns whether the state of a stored dispute is what its provider reports.
fn is_known(stored: DisputeState, reported: &ProviderDispute) -> bool {
    stored.after(DisputeState::of(reported.won)) == stored
}
