//! Seats: the members that a tenant has paid for.

use omnistack_core::{
    db::Tx,
    http::Error,
    identity::{Identity, TenantId},
};
use serde_json::json;

use super::{entitled::SEATS_LIMIT, handle::BillingAccounts, store};

/// The maximum number of seats of a tenant.
pub(crate) const MAX_SEATS: u64 = 1_000_000_000;

impl BillingAccounts {
    /// Sets the seats of a tenant, in place of the limit `team_members` of its plan, or removes them. Members and
    /// pending invitations use seats. A member that is added at the same time can be missing in the count.
    ///
    /// # Errors
    /// 409 `SEATS_IN_USE` with the details `used` and `requested` if the tenant uses more, and the errors of the
    /// database.
    pub async fn set_seats(&self, tenant: TenantId, seats: Option<u64>) -> Result<(), Error> {
        self.change_seats(None, tenant, seats).await
    }

    /// Sets the seats of a tenant as a provider reports that they were bought, or removes them, in a transaction of the
    /// app's own database that is one of the tenant or of all tenants. If the tenant uses more, it is
    /// [over the limit](crate::BillingAccount::over_limit): its members stay, and none can be added.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn set_seats_from_provider_in(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        seats: Option<u64>,
    ) -> Result<(), Error> {
        self.set_seats_in(tx, None, tenant, seats).await
    }

    /// Sets the seats of a tenant as an operator does, or as the app itself.
    pub(super) async fn change_seats(
        &self,
        operator: Option<&Identity>,
        tenant: TenantId,
        seats: Option<u64>,
    ) -> Result<(), Error> {
        self.check_seats(tenant, seats).await?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        self.set_seats_in(&mut tx, operator, tenant, seats).await?;
        Ok(tx.commit().await?)
    }

    /// Requires that the seats, or without them the limit of the plan, are enough for those in use.
    pub(crate) async fn check_seats(&self, tenant: TenantId, seats: Option<u64>) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let account = store::find(&mut tx, tenant).await?;
        tx.commit().await?;
        let requested = match seats {
            Some(seats) => Some(seats),
            None => self.plan_limit(account.as_ref(), SEATS_LIMIT).await?,
        };
        let used = self.0.resources.count(SEATS_LIMIT, tenant).await.map_err(Error::internal)?;
        match (used, requested) {
            (Some(used), Some(requested)) if used > requested => {
                let message = format!(
                    "{used} seats are in use, more than {requested}; remove members or invitations, or set more seats"
                );
                let error = Error::conflict("SEATS_IN_USE", message);
                Err(error.with_detail("used", used).with_detail("requested", requested))
            }
            _ => Ok(()),
        }
    }

    async fn set_seats_in(
        &self,
        tx: &mut Tx,
        operator: Option<&Identity>,
        tenant: TenantId,
        seats: Option<u64>,
    ) -> Result<(), Error> {
        let mut account = self.lock_in(tx, tenant).await?;
        let before = account.seats();
        let seats = seats.map(|seats| seats.min(MAX_SEATS));
        if seats == before {
            return Ok(());
        }
        account.set_seats(seats);
        self.save_in(tx, &account).await?;
        let details = json!({ "seats": seats, "previous_seats": before });
        self.record_in(tx, "billing_seats.set", operator, tenant, details).await?;
        Ok(())
    }
}
