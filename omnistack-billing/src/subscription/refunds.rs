//! Refunds of payments, and the credits that were bought by them.
//!
//! A provider states the sum of all refunds of a payment. What a tenant keeps is computed from it, and never from the
//! single refund: so a refund that is reported twice, or late, changes nothing.

use omnistack_core::{
    clock::Timestamp,
    db::{self, FromRow, Tx},
    http::Error,
    identity::TenantId,
    money::Money,
    payment::{PaymentError, PaymentProvider, ProviderPayment},
    usage::DataEnvironment,
};

use super::{errors::payment_error, handle::Subscriptions, store::ExternalKey};
use crate::wallet::{Credits, NewGrant};

/// A payment for credits.
///
/// ```
/// use omnistack_billing::{Credits, CreditPayment, Money, NewGrant, Subscriptions};
/// use omnistack_core::{db::Db, http::Error, identity::TenantId, payment::ProviderPayment};
///
/// /// Grants 1,000 credits for a payment. They are taken back when it is refunded.
/// async fn paid(
///     db: &Db,
///     subscriptions: &Subscriptions,
///     tenant: TenantId,
///     payment: &ProviderPayment,
/// ) -> Result<(), Error> {
///     let grant = NewGrant::new(tenant, format!("payment/{}", payment.id), Credits::from(1_000));
///     let mut tx = db.app_database().tenant(tenant).begin().await?;
///     let bought = CreditPayment::new("stripe", &payment.id, payment.captured, grant);
///     subscriptions.grant_paid_credits_in(&mut tx, bought).await?;
///     Ok(tx.commit().await?)
/// }
/// # let _ = paid;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CreditPayment {
    provider: String,
    payment: String,
    paid: Money,
    grant: NewGrant,
}

impl CreditPayment {
    /// Creates the payment with an id at a provider, and the grant that was bought.
    pub fn new(provider: impl Into<String>, payment: impl Into<String>, paid: Money, grant: NewGrant) -> Self {
        Self { provider: provider.into(), payment: payment.into(), paid, grant }
    }
}

#[derive(FromRow)]
struct RefundState {
    tenant_id: TenantId,
    paid: i64,
    refunded: i64,
    grant_key: Option<String>,
    granted: Option<i64>,
}

/// Returns what a tenant keeps of a grant, rounded down to millionths: the share of the payment that was not refunded.
fn kept(granted: i64, paid: i64, refunded: i64) -> i64 {
    if paid <= 0 {
        return granted;
    }
    let left = i128::from(paid.saturating_sub(refunded).max(0));
    i64::try_from(i128::from(granted) * left / i128::from(paid)).unwrap_or(granted)
}

impl Subscriptions {
    /// Grants credits that were paid for, in the caller's transaction, which is one of the tenant in the app's database.
    /// When the payment is refunded, the same share of the credits is taken back, but never credits that are used.
    ///
    /// # Errors
    /// 409 `PAYMENT_OF_OTHER_TENANT` if another tenant has made the payment, and those of
    /// [`Wallets::grant_in`](crate::Wallets::grant_in).
    pub async fn grant_paid_credits_in(&self, tx: &mut Tx, bought: CreditPayment) -> Result<(), Error> {
        let CreditPayment { provider, payment, paid, grant } = bought;
        let (tenant, environment, key, amount) = (grant.tenant, grant.environment, grant.key.clone(), grant.amount);
        // A refund that is stored at the same time waits.
        self.0.accounts.lock_account_in(tx, tenant).await?;
        self.0.wallets.grant_in(tx, grant).await?;
        let sql = "insert into omni_refund_states (provider, environment, payment, tenant_id, paid, refunded, currency,
            grant_key, granted, updated_at) values ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9)
            on conflict (provider, environment, payment) do update set
            grant_key = coalesce(omni_refund_states.grant_key, excluded.grant_key),
            granted = coalesce(omni_refund_states.granted, excluded.granted), updated_at = excluded.updated_at
            where omni_refund_states.tenant_id = excluded.tenant_id
            returning tenant_id, paid, refunded, grant_key, granted";
        let insert = tx.query(sql).bind(provider).bind(environment.as_str()).bind(payment).bind(tenant);
        let insert = insert.bind(paid.minor()).bind(paid.currency().code()).bind(key).bind(amount.millionths());
        let state: Option<RefundState> = insert.bind(self.now()).fetch_optional().await?;
        let Some(state) = state else {
            let message = "another account has made the payment; its credits are there";
            return Err(Error::conflict("PAYMENT_OF_OTHER_TENANT", message));
        };
        // The refund was reported before the payment.
        if state.refunded > 0 {
            self.take_back_in(tx, environment, &state).await?;
        }
        Ok(())
    }

    /// Takes back what a tenant does not keep of the credits that a payment has bought.
    async fn take_back_in(&self, tx: &mut Tx, environment: DataEnvironment, state: &RefundState) -> Result<(), Error> {
        if let (Some(grant), Some(granted)) = (&state.grant_key, state.granted) {
            let target = Credits::from_millionths(kept(granted, state.paid, state.refunded));
            self.0.wallets.adjust_grant_in(tx, state.tenant_id, environment, grant, target).await?;
        }
        Ok(())
    }

    /// Asks the provider for the refunds of a payment, and takes back the credits that were bought by it.
    pub(super) async fn sync_refunds(&self, provider: &dyn PaymentProvider, payment: &str) -> Result<(), Error> {
        let read = match provider.payment(payment).await {
            Ok(read) => read,
            Err(PaymentError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(payment_error(error)),
        };
        self.note_returned_refund(provider, &read).await?;
        let key = ExternalKey {
            provider: provider.name().to_owned(),
            environment: provider.environment(),
            id: payment.to_owned(),
        };
        let Some(tenant) = self.tenant_of_payment(&key, &read).await? else { return Ok(()) };
        self.store_refunds(&key, tenant, &read).await
    }

    /// Takes back the credits that were bought by a payment of which a dispute is lost: its payer has the money back.
    /// `read` is the payment as the provider has it.
    pub(super) async fn take_back_disputed(
        &self,
        provider: &dyn PaymentProvider,
        dispute: &str,
        read: &ProviderPayment,
        payment: &str,
    ) -> Result<(), Error> {
        let key = ExternalKey {
            provider: provider.name().to_owned(),
            environment: provider.environment(),
            id: payment.to_owned(),
        };
        // A provider does not say the tenant, so all are searched.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let state = find(&mut tx, &key).await?;
        tx.commit().await?;
        let Some(state) = state else { return Ok(()) };
        let (captured, currency) = (read.captured.minor(), read.captured.currency());
        let lost = match provider.dispute(dispute).await {
            Ok(found) if found.amount.currency() == currency => found.amount.minor(),
            // Without an amount, it is the whole payment.
            Ok(_) | Err(PaymentError::NotFound { .. } | PaymentError::NotSupported { .. }) => captured,
            Err(error) => return Err(payment_error(error)),
        };
        let returned = read.refunded.minor().saturating_add(lost).min(captured);
        let read = ProviderPayment { refunded: Money::new(returned, currency), ..read.clone() };
        self.store_refunds(&key, state.tenant_id, &read).await
    }

    /// Stores what was sent back of a payment, and takes back the credits that were bought by it.
    async fn store_refunds(&self, key: &ExternalKey, tenant: TenantId, read: &ProviderPayment) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        // The row of the tenant's account keeps two processes from storing the sums in the wrong order.
        self.0.accounts.lock_account_in(&mut tx, tenant).await?;
        let state = note_refunds(&mut tx, key, tenant, read, self.now()).await?;
        self.take_back_in(&mut tx, key.environment, &state).await?;
        Ok(tx.commit().await?)
    }

    /// Returns the tenant that has made a payment: of a purchase of credits, or of a subscription.
    async fn tenant_of_payment(
        &self,
        key: &ExternalKey,
        payment: &ProviderPayment,
    ) -> Result<Option<TenantId>, db::Error> {
        // A provider does not say the tenant, so all are searched.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let state = find(&mut tx, key).await?;
        tx.commit().await?;
        if let Some(state) = state {
            return Ok(Some(state.tenant_id));
        }
        let Some(subscription) = &payment.subscription else { return Ok(None) };
        let key = ExternalKey { id: subscription.clone(), ..key.clone() };
        Ok(self.find(&key).await?.map(|row| row.tenant))
    }
}

async fn find(tx: &mut Tx, key: &ExternalKey) -> Result<Option<RefundState>, db::Error> {
    let sql = "select tenant_id, paid, refunded, grant_key, granted from omni_refund_states
        where provider = $1 and environment = $2 and payment = $3";
    let select = tx.query(sql).bind(key.provider.clone()).bind(key.environment.as_str());
    select.bind(key.id.clone()).fetch_optional().await
}

/// Stores the sum of the refunds of a payment, unless a greater one is stored. Returns what is stored.
async fn note_refunds(
    tx: &mut Tx,
    key: &ExternalKey,
    tenant: TenantId,
    payment: &ProviderPayment,
    now: Timestamp,
) -> Result<RefundState, db::Error> {
    let environment: DataEnvironment = key.environment;
    let sql = "insert into omni_refund_states (provider, environment, payment, tenant_id, paid, refunded, currency,
        updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (provider, environment, payment) do update set refunded = case
            when omni_refund_states.refunded < excluded.refunded then excluded.refunded
            else omni_refund_states.refunded end, updated_at = excluded.updated_at
        returning tenant_id, paid, refunded, grant_key, granted";
    let insert = tx.query(sql).bind(key.provider.clone()).bind(environment.as_str()).bind(key.id.clone()).bind(tenant);
    let insert = insert.bind(payment.captured.minor()).bind(payment.refunded.minor());
    insert.bind(payment.captured.currency().code()).bind(now).fetch_one().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_keeps_the_share_that_was_not_refunded() {
        for (granted, paid, refunded, expected) in [
            (1_000, 1_000, 0, 1_000),
            (1_000, 1_000, 250, 750),
            (1_000, 1_000, 500, 500),
            (1_000, 1_000, 1_000, 0),
            (1_000, 1_000, 1_500, 0),
            (1_000, 3, 1, 666),
            (1_000, 0, 0, 1_000),
            (i64::MAX, i64::MAX, 1, i64::MAX - 1),
        ] {
            assert_eq!(kept(granted, paid, refunded), expected, "{granted} {paid} {refunded}");
        }
    }
}
