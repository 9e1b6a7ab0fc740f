//! Changes of accounts: the plan, the billing periods and their time zone.

use jiff::tz::TimeZone;
use omnistack_core::{
    audit::AuditEntry,
    db::{self, Tx},
    http::{Error, FieldError},
    identity::{Identity, TenantId},
};
use serde_json::json;

use super::{
    events::PlanChanged,
    handle::BillingAccounts,
    model::PlanAssignment,
    store::{self, StoredAccount},
};

impl BillingAccounts {
    /// Assigns a plan to a tenant, in a transaction of the app's own database
    /// ([`Db::app_database`](omnistack_core::db::Db::app_database)) that is one of the tenant or of all tenants. If it
    /// changes the plan, it publishes [`PlanChanged`]. Transactions that change accounts wait for each other, so commit
    /// soon.
    ///
    /// # Errors
    /// 404 if there is no such plan or version, and the errors of the database. Roll back the transaction then.
    pub async fn assign_plan_in(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        assignment: &PlanAssignment,
    ) -> Result<(), Error> {
        self.assign_in(tx, tenant, assignment, None).await
    }

    /// Assigns a plan to a tenant as an operator.
    ///
    /// # Errors
    /// 404 if there is no such plan or version.
    pub(super) async fn assign_plan(
        &self,
        operator: &Identity,
        tenant: TenantId,
        assignment: &PlanAssignment,
    ) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        self.assign_in(&mut tx, tenant, assignment, Some(operator)).await?;
        Ok(tx.commit().await?)
    }

    async fn assign_in(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        assignment: &PlanAssignment,
        operator: Option<&Identity>,
    ) -> Result<(), Error> {
        let PlanAssignment { plan, version, period } = assignment;
        let definition = self.known_definition(plan, *version).await?;
        let mut account = self.lock_in(tx, tenant).await?;
        let (from, from_version) = self.plan_of(&account);
        let (from, to, version) = (from.to_owned(), definition.key.clone(), definition.version);
        let is_other_plan = (from.as_str(), from_version) != (to.as_str(), version);
        let is_assigned = account.plan() == Some((to.as_str(), version));
        let has_new_periods = match period {
            Some((anchor, interval)) => {
                let mut history = store::anchors(tx, &account).await?;
                let has_changed = history.set_anchor(*anchor, *interval, account.closed_until, self.0.clock.now());
                if has_changed {
                    store::set_anchors(tx, &mut account, &history).await?;
                }
                has_changed
            }
            None => false,
        };
        if is_assigned && !has_new_periods {
            return Ok(());
        }
        account.set_plan(&to, version);
        self.save_in(tx, &account).await?;
        if is_other_plan {
            store::add_former_plan(tx, tenant, &from, from_version, self.0.clock.now()).await?;
            let event = PlanChanged { tenant, from: from.clone(), to: to.clone(), version };
            self.0.events.publish_in(tx, &event).await?;
        }
        let details = json!({
            "plan": to, "version": version, "previous_plan": from, "previous_version": from_version,
            "anchor": period.map(|(anchor, _)| anchor), "interval": period.map(|(_, interval)| interval.to_string()),
        });
        self.record_in(tx, "billing_plan.assigned", operator, tenant, details).await?;
        Ok(())
    }

    /// Sets the time zone of a tenant's billing periods, from the next period on.
    ///
    /// # Errors
    /// 422 if there is no such time zone.
    pub(super) async fn set_zone(&self, caller: &Identity, tenant: TenantId, zone: &str) -> Result<(), Error> {
        let found = TimeZone::get(zone).ok();
        let Some(zone) = found.as_ref().and_then(TimeZone::iana_name) else {
            let message = "is not a time zone; use a name of the IANA database, such as `Europe/Berlin`";
            return Err(Error::invalid([FieldError::new("zone", message)]));
        };
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let mut account = self.lock_in(&mut tx, tenant).await?;
        let before = account.zone.clone();
        let mut history = store::anchors(&mut tx, &account).await?;
        if history.set_zone(zone, self.0.clock.now()) {
            store::set_anchors(&mut tx, &mut account, &history).await?;
            self.save_in(&mut tx, &account).await?;
            let details = json!({ "zone": zone, "previous_zone": before });
            self.record_in(&mut tx, "billing_account.updated", Some(caller), tenant, details).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Returns the account of a tenant, locked until the transaction ends. If it has no row, one is inserted.
    pub(super) async fn lock_in(&self, tx: &mut Tx, tenant: TenantId) -> Result<StoredAccount, db::Error> {
        store::lock(tx, tenant, self.default_zone(), self.0.clock.now()).await
    }

    /// Stores a changed account, which all replicas see after the commit.
    pub(super) async fn save_in(&self, tx: &mut Tx, account: &StoredAccount) -> Result<(), db::Error> {
        store::update(tx, account, self.0.clock.now()).await?;
        self.evict_on_commit(tx, account.tenant_id);
        Ok(())
    }

    /// Records a change of an account by a caller, or by the app itself.
    pub(super) async fn record_in(
        &self,
        tx: &mut Tx,
        action: &'static str,
        caller: Option<&Identity>,
        tenant: TenantId,
        details: serde_json::Value,
    ) -> Result<(), db::Error> {
        let mut entry = AuditEntry::new(action);
        if let Some(caller) = caller {
            entry = entry.actor(caller);
        }
        let entry = entry.for_tenant(tenant).resource("billing_account", tenant).details(details);
        self.0.audit.record_in(tx, entry).await
    }
}
