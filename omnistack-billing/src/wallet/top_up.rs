//! Automatic top-ups.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    BoxError,
    clock::Timestamp,
    db::{self, Tx},
    http::Error,
    identity::TenantId,
    jobs::{Job, JobContext, JobError, NewJob},
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};

use super::{
    credits::Credits,
    entries,
    events::WalletTopUpDeclined,
    handle::Wallets,
    model::{MAX_DESCRIPTION_CHARS, NewGrant, WalletEntryKind},
    store::{self, Wallet, WalletKey},
};

/// Time from the request of a top-up for which its payment may be pending. Then it counts as declined.
const TOP_UP_PENDING_TTL: Duration = Duration::from_hours(7 * 24);
/// Delay before a pending payment is asked for the first time; it doubles each time.
const FIRST_PENDING_DELAY: Duration = Duration::from_secs(60);
/// Longest delay between two questions for a pending payment.
const MAX_PENDING_DELAY: Duration = Duration::from_hours(1);

/// A hook of the app that charges tenants for automatic top-ups.
///
/// ```
/// use omnistack_billing::{TopUp, TopUpOutcome, TopUpRequest};
/// use omnistack_core::{BoxError, async_trait};
/// # struct PaymentApi;
/// # enum Charge { Succeeded, Failed(String), Processing }
/// # impl PaymentApi {
/// #     async fn charge(&self, _: &str, _: i64, _: &str) -> Result<Charge, BoxError> { Ok(Charge::Succeeded) }
/// # }
///
/// struct ChargeCard(PaymentApi);
///
/// #[async_trait]
/// impl TopUp for ChargeCard {
///     async fn top_up(&self, request: &TopUpRequest) -> Result<TopUpOutcome, BoxError> {
///         // A credit costs a cent, and parts are rounded up. With the same key, the provider charges once.
///         let cents = (request.amount.millionths() + 999_999) / 1_000_000;
///         Ok(match self.0.charge(&request.tenant.to_string(), cents, &request.key).await? {
///             Charge::Succeeded => TopUpOutcome::Paid,
///             Charge::Failed(reason) => TopUpOutcome::Declined(reason),
///             Charge::Processing => TopUpOutcome::Pending,
///         })
///     }
/// }
/// ```
#[async_trait]
pub trait TopUp: Send + Sync + 'static {
    /// Charges a tenant for an amount of credits. A request with the same key is the same top-up: it may be made again
    /// after an error or a crash, and must charge once.
    ///
    /// # Errors
    /// Any error if it is not known whether the tenant was charged. The request is then made again later.
    async fn top_up(&self, request: &TopUpRequest) -> Result<TopUpOutcome, BoxError>;
}

/// A request to charge a tenant for credits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopUpRequest {
    /// The tenant to charge.
    pub tenant: TenantId,
    /// The environment.
    pub environment: DataEnvironment,
    /// The credits to charge for.
    pub amount: Credits,
    /// The idempotency key, with at most 80 characters. It is the same whenever the request is made again.
    pub key: String,
}

/// The result of a top-up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopUpOutcome {
    /// The tenant has paid: the credits are granted, with the grant key `top-up/KEY`.
    Paid,
    /// The payment was declined, for this reason, which the tenant is told. It is not tried again until the balance was
    /// no longer low.
    Declined(String),
    /// The payment is not decided yet: the request is made again later, for seven days.
    Pending,
}

/// The job that tops up a wallet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TopUpWallet {
    tenant: TenantId,
    environment: DataEnvironment,
    /// The credits to add, in millionths.
    amount: i64,
    /// The time since which the wallet is low. It identifies the top-up, together with the amount.
    low_since: Timestamp,
    /// The number of times that the payment was pending.
    #[serde(default)]
    pending: u32,
}

impl TopUpWallet {
    fn wallet(&self) -> WalletKey {
        WalletKey { tenant: self.tenant, environment: self.environment }
    }

    /// Returns the idempotency key of the payment. It has the amount, so that the payment of one amount never grants
    /// another, which the tenant has set meanwhile.
    fn key(&self) -> String {
        let Self { tenant, environment, amount, low_since, .. } = self;
        format!("{tenant}/{environment}/{}/{amount}", low_since.as_micros())
    }

    /// Returns the key of the grant.
    fn grant_key(&self) -> String {
        format!("top-up/{}", self.key())
    }

    fn into_new_job(self) -> NewJob {
        let (unique, tenant) = (format!("{}/{}", self.key(), self.pending), self.tenant);
        NewJob::new(self).unique(unique).tenant(tenant)
    }

    /// Returns the delay before a pending payment is asked for again.
    fn pending_delay(&self) -> Duration {
        FIRST_PENDING_DELAY.saturating_mul(1 << self.pending.min(16)).min(MAX_PENDING_DELAY)
    }
}

impl Wallets {
    /// Enqueues the top-up of a wallet that is low, if the tenant and the app have automatic top-ups.
    pub(super) async fn request_top_up_in(&self, tx: &mut Tx, wallet: &Wallet) -> Result<(), Error> {
        let (Some(amount), Some(low_since), Some(_)) = (wallet.top_up_amount, wallet.low_since, &self.0.top_up) else {
            return Ok(());
        };
        let WalletKey { tenant, environment } = wallet.key;
        let job = TopUpWallet { tenant, environment, amount: amount.millionths(), low_since, pending: 0 };
        self.0.jobs.enqueue_in(tx, job.into_new_job()).await?;
        Ok(())
    }

    /// Returns whether the app must be asked to charge for a top-up. It must not if the credits are granted. Before the
    /// first question, it must not if the balance is no longer low, or if the tenant has switched top-ups off; if the
    /// tenant has set another amount, a top-up of that is requested instead. After the first question, the tenant may
    /// have been charged.
    async fn needs_payment(&self, job: &TopUpWallet, is_first: bool) -> Result<bool, Error> {
        let mut tx = self.0.db.tenant(job.tenant).begin().await?;
        let wallet = store::lock(&mut tx, job.wallet()).await?;
        let granted = entries::find(&mut tx, job.wallet(), WalletEntryKind::Granted, &job.grant_key()).await?.is_some();
        let mut is_wanted = false;
        if let Some(wallet) = wallet {
            if granted {
                end_low(&mut tx, wallet, job.low_since).await?;
            } else if wallet.low_since == Some(job.low_since) {
                is_wanted = wallet.top_up_amount == Some(Credits::from_millionths(job.amount));
                if is_first && !is_wanted {
                    self.request_top_up_in(&mut tx, &wallet).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(!granted && (is_wanted || !is_first))
    }

    /// Grants the credits of a top-up that is paid.
    async fn grant_top_up(&self, job: &TopUpWallet) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(job.tenant).begin().await?;
        let amount = Credits::from_millionths(job.amount);
        let grant = NewGrant::new(job.tenant, job.grant_key(), amount).environment(job.environment);
        self.grant_in(&mut tx, grant.description("Automatic top-up")).await?;
        if let Some(wallet) = store::lock(&mut tx, job.wallet()).await? {
            end_low(&mut tx, wallet, job.low_since).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Tells the tenant that a top-up was declined.
    async fn decline_top_up(&self, job: &TopUpWallet, reason: &str) -> Result<(), Error> {
        let reason = reason.chars().take(MAX_DESCRIPTION_CHARS).collect();
        let amount = Credits::from_millionths(job.amount);
        let mut tx = self.0.db.tenant(job.tenant).begin().await?;
        let event = WalletTopUpDeclined::new(job.tenant, job.environment, amount, reason);
        self.0.events.publish_in(&mut tx, &event).await?;
        Ok(tx.commit().await?)
    }
}

/// Forgets that a wallet is low, so that the next use requests another top-up if the balance is still too small.
async fn end_low(tx: &mut Tx, mut wallet: Wallet, low_since: Timestamp) -> Result<(), db::Error> {
    if wallet.low_since != Some(low_since) {
        return Ok(());
    }
    wallet.low_since = None;
    store::update(tx, &wallet).await
}

#[async_trait]
impl Job for TopUpWallet {
    const NAME: &'static str = "wallets.top_up";
    // With the growing delays, more than half a day.
    const MAX_ATTEMPTS: u32 = 24;
    const TIMEOUT: Duration = Duration::from_secs(2 * 60);

    type State = Wallets;

    async fn run(self, wallets: &Wallets, ctx: &JobContext) -> Result<(), JobError> {
        let is_first = self.pending == 0 && ctx.attempt() == 1;
        if !wallets.needs_payment(&self, is_first).await? {
            return Ok(());
        }
        let Some(top_up) = &wallets.0.top_up else {
            return Err(JobError::fatal("the app has no automatic top-ups; add them by `Billing::auto_top_up`"));
        };
        let request = TopUpRequest {
            tenant: self.tenant,
            environment: self.environment,
            amount: Credits::from_millionths(self.amount),
            key: self.key(),
        };
        let result = match top_up.top_up(&request).await.map_err(JobError::retry)? {
            TopUpOutcome::Paid => wallets.grant_top_up(&self).await,
            TopUpOutcome::Declined(reason) => wallets.decline_top_up(&self, &reason).await,
            TopUpOutcome::Pending if wallets.now().duration_since(self.low_since) >= TOP_UP_PENDING_TTL => {
                wallets.decline_top_up(&self, "the payment was pending for seven days").await
            }
            TopUpOutcome::Pending => {
                let delay = self.pending_delay();
                let next = Self { pending: self.pending + 1, ..self };
                wallets.0.jobs.enqueue(next.into_new_job().delay(delay)).await?;
                Ok(())
            }
        };
        // A request that is refused is refused again.
        result.map_err(
            |error| {
                if error.status().is_client_error() { JobError::fatal(error) } else { JobError::retry(error) }
            },
        )
    }
}
