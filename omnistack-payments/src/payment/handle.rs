//! The handle of payments, and what it reads.

use std::{fmt, sync::Arc};

use omnistack_core::{
    clock::{Clock, Timestamp},
    data_environment::DataEnvironment,
    db::Db,
    http::{CursorPage, Error, MAX_PAGE_SIZE},
    identity::TenantId,
    payment::PaymentProvider,
};
use uuid::Uuid;

use super::{
    failure::no_payment,
    machine::PaymentState,
    model::{Payment, PaymentId},
    rows::{PaymentRow, StoredPayment},
    store::{self, PaymentFilter},
};
use crate::{credentials::PaymentAccounts, router::PaymentRouter};

/// The payments of all tenants. It is in the [`Context`](omnistack_core::module::Context) of an app with the module
/// [`Payments`](crate::Payments). Cheap to clone.
///
/// A payment is stored before a provider is asked, and the result afterwards. If the result is not known, the payment
/// is [`Unknown`](PaymentState::Unknown): the provider is asked for it, and no other attempt begins.
///
/// ```
/// use omnistack_core::{http::Error, identity::TenantId, money::Money};
/// use omnistack_payments::{PaymentLedger, PaymentRequest, PaymentState};
///
/// /// Takes the payment of an order. Returns whether the order is paid.
/// async fn pay(payments: &PaymentLedger, tenant: TenantId, order: u64, total: Money, card: &str) -> Result<bool,
/// Error> {     // The same order is paid once, however often this is called.
///     let request = PaymentRequest::new(tenant, format!("order/{order}"), total).token(card);
///     let payment = payments.create(request).await?;
///     Ok(payment.status == PaymentState::Succeeded)
/// }
/// # let _ = pay;
/// ```
#[derive(Clone)]
pub struct PaymentLedger(pub(super) Arc<LedgerParts>);

/// The dependencies of payments.
pub(super) struct LedgerParts {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) accounts: PaymentAccounts,
    pub(super) router: PaymentRouter,
}

impl PaymentLedger {
    pub(super) fn new(parts: LedgerParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Returns a payment of a tenant.
    ///
    /// # Errors
    /// 404 if the tenant has no such payment.
    pub async fn get(&self, tenant: TenantId, id: PaymentId) -> Result<Payment, Error> {
        Ok(self.find(tenant, id).await?.show())
    }

    /// Returns a page of the payments of a tenant, the newest first. With `before`, only older ones; with `status`,
    /// only those in this state. `limit` is the largest number of payments, at most 100.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn list(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        status: Option<PaymentState>,
        before: Option<PaymentId>,
        limit: u32,
    ) -> Result<CursorPage<Payment>, Error> {
        let limit = limit.clamp(1, MAX_PAGE_SIZE);
        let before = before.unwrap_or_else(|| PaymentId::from_uuid(Uuid::max()));
        let filter = PaymentFilter { environment, status, before };
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let mut payments = store::newest(&mut tx, tenant, filter, limit + 1).await?;
        tx.commit().await?;
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = payments.len() > size;
        payments.truncate(size);
        let next_cursor = payments.last().filter(|_| has_more).map(|last| last.row.id.to_string());
        Ok(CursorPage { items: payments.iter().map(StoredPayment::show).collect(), next_cursor })
    }

    pub(super) async fn find(&self, tenant: TenantId, id: PaymentId) -> Result<StoredPayment, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let payment = store::find(&mut tx, tenant, id).await?;
        tx.commit().await?;
        payment.ok_or_else(no_payment)
    }

    /// Returns the tenant's account at a service, if it still has one.
    pub(super) async fn provider(
        &self,
        payment: &PaymentRow,
        service: &str,
    ) -> Result<Option<Arc<dyn PaymentProvider>>, Error> {
        self.0.accounts.provider(payment.tenant_id, service, payment.environment()).await
    }

    /// Returns the tenant's account at a service.
    ///
    /// # Errors
    /// 409 `PAYMENT_ACCOUNT_MISSING` if the tenant has none any more.
    pub(super) async fn require_provider(
        &self,
        payment: &PaymentRow,
        service: &str,
    ) -> Result<Arc<dyn PaymentProvider>, Error> {
        self.provider(payment, service).await?.ok_or_else(|| {
            let message = format!("there are no credentials for `{service}` any more; store them again");
            Error::conflict("PAYMENT_ACCOUNT_MISSING", message)
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

impl fmt::Debug for PaymentLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentLedger")
    }
}
