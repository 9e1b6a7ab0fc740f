//! The storage of changes of subscriptions, with their effects.

use std::cmp::Reverse;

use omnistack_core::{
    audit::AuditEntry,
    billing_notice::{BillingNotice, BillingNoticeKind},
    db::Tx,
    http::Error,
    identity::{TenantId, UserId},
};
use serde_json::json;

use super::{
    checkout_store,
    cleanup::{CleanUpSubscription, CleanupState, StoredCleanup},
    events::BillingSubscriptionUpdated,
    handle::{Subscriptions, is_app_store},
    machine::{SubscriptionEffect, SubscriptionFact, SubscriptionState, step},
    model::{CheckoutId, SubscriptionId},
    store::{self, RevenueChange, StoredSubscription},
};
use crate::{PlanAssignment, plan::PlanPrice};

/// The result of storing a change.
#[derive(Debug)]
pub(super) enum Applied {
    /// The change was stored.
    Stored(Box<StoredSubscription>),
    /// Another transaction has changed the subscription since it was read.
    Outdated,
}

impl Subscriptions {
    /// Stores what a fact changes of a subscription, unless it was changed since `row` was read.
    pub(super) async fn apply(&self, row: StoredSubscription, fact: &SubscriptionFact) -> Result<Applied, Error> {
        let mut tx = self.0.db.tenant(row.tenant).begin().await?;
        // The subscriptions of a tenant change one after another, so that one of two that are paid is the duplicate.
        self.0.accounts.lock_account_in(&mut tx, row.tenant).await?;
        let known = store::find(&mut tx, &row.external).await?;
        if known.as_ref().map_or(0, |known| known.version) != row.version {
            tx.rollback().await?;
            return Ok(Applied::Outdated);
        }
        let row = Box::pin(self.apply_in(&mut tx, row, fact)).await?;
        tx.commit().await?;
        Ok(Applied::Stored(Box::new(row)))
    }

    /// Stores what a fact changes of a subscription, as it is stored now. Returns `None` if there is no such
    /// subscription.
    pub(super) async fn apply_now(
        &self,
        tenant: TenantId,
        id: SubscriptionId,
        fact: &SubscriptionFact,
    ) -> Result<Option<StoredSubscription>, Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        self.0.accounts.lock_account_in(&mut tx, tenant).await?;
        let row = match store::get(&mut tx, id).await? {
            Some(row) => Some(Box::pin(self.apply_in(&mut tx, row, fact)).await?),
            None => None,
        };
        tx.commit().await?;
        Ok(row)
    }

    /// Stores what a fact changes of a subscription. The transaction has locked the account of its tenant.
    pub(super) async fn apply_in(
        &self,
        tx: &mut Tx,
        mut row: StoredSubscription,
        fact: &SubscriptionFact,
    ) -> Result<StoredSubscription, Error> {
        let (now, grace) = (self.now(), self.0.grace);
        let before = row.state.clone();
        let (mut after, mut effects) = step(&before, fact, now, grace);
        let was_duplicate = before.is_duplicate && after.is_running() && is_app_store(&row.external.provider);
        if was_duplicate && !self.has_other_in(tx, &row).await? {
            // The app can't end a purchase in an app store, so it counts when the other subscription has ended.
            let (alone, more) = step(&after, &SubscriptionFact::DuplicateLeft, now, grace);
            (after, row.cleanup) = (alone, None);
            effects.extend(more);
        }
        // A job states every few minutes that time has passed. Only an answer of a provider is noted if nothing changes.
        if after == before && effects.is_empty() && !matches!(fact, SubscriptionFact::Provider(_)) {
            return Ok(row);
        }
        if !before.has_begun && after.has_begun && self.has_other_in(tx, &row).await? {
            let (duplicate, more) = step(&after, &SubscriptionFact::Duplicate, now, grace);
            // Nothing was bought in the end.
            effects.retain(|effect| {
                use SubscriptionEffect::{Notice, RecordTrial, Revenue};
                !matches!(effect, Notice(_) | RecordTrial | Revenue { .. })
            });
            let is_kept = |effect: &SubscriptionEffect| !matches!(effect, SubscriptionEffect::Revenue { .. });
            effects.extend(more.into_iter().filter(is_kept));
            after = duplicate;
        }
        row.state = after;
        if effects.contains(&SubscriptionEffect::EndDuplicate) || effects.contains(&SubscriptionEffect::EndDisputed) {
            let can_end = !is_app_store(&row.external.provider);
            let state = if can_end { CleanupState::Canceling } else { CleanupState::Failed };
            row.cleanup = Some(StoredCleanup::new(state));
        }
        store::save(tx, &row, now).await?;
        row.version += 1;
        if effects.contains(&SubscriptionEffect::AssignPlan) {
            self.assign_plan_in(tx, &row, &before).await?;
        }
        for effect in effects {
            self.carry_out_in(tx, &row, effect).await?;
        }
        if row.state != before {
            self.0.events.publish_in(tx, &BillingSubscriptionUpdated::new(&row)).await?;
        }
        Ok(row)
    }

    async fn carry_out_in(
        &self,
        tx: &mut Tx,
        row: &StoredSubscription,
        effect: SubscriptionEffect,
    ) -> Result<(), Error> {
        match effect {
            SubscriptionEffect::AssignPlan => {}
            SubscriptionEffect::RecordTrial => {
                let user = self.user_of_in(tx, row).await?;
                store::record_trial(tx, row, user, self.now()).await?;
            }
            SubscriptionEffect::Revenue { before, after } => {
                let change = RevenueChange { subscription: row, before, after, at: self.now() };
                store::insert_change(tx, &change).await?;
            }
            SubscriptionEffect::EndDuplicate => self.end_duplicate_in(tx, row).await?,
            SubscriptionEffect::EndDisputed => self.end_disputed_in(tx, row).await?,
            SubscriptionEffect::Notice(kind) => self.notify_in(tx, row, kind).await?,
        }
        Ok(())
    }

    /// Returns the user who has made the checkout of a subscription.
    async fn user_of_in(&self, tx: &mut Tx, row: &StoredSubscription) -> Result<Option<UserId>, Error> {
        let Some(id) = row.reference.as_deref().and_then(|text| text.parse::<CheckoutId>().ok()) else {
            return Ok(None);
        };
        Ok(checkout_store::get(tx, id).await?.map(|checkout| checkout.created_by))
    }

    /// Returns whether the tenant has another subscription that runs, of whichever group: a tenant has one.
    async fn has_other_in(&self, tx: &mut Tx, row: &StoredSubscription) -> Result<bool, Error> {
        let others = store::of_tenant(tx, row.tenant, row.external.environment).await?;
        Ok(others.iter().any(|other| {
            other.id != row.id && other.state.has_begun && other.state.is_running() && !other.state.is_duplicate
        }))
    }

    /// Requests the end of a duplicate: the tenant has paid another subscription before. Tells the operators.
    async fn end_duplicate_in(&self, tx: &mut Tx, row: &StoredSubscription) -> Result<(), Error> {
        let (id, tenant, provider) = (row.id, row.tenant, row.external.provider.as_str());
        tracing::error!(
            target: "omnistack::billing", %id, %tenant, provider,
            "a tenant has paid for two subscriptions; the second one is canceled and refunded"
        );
        let entry = AuditEntry::new("subscription.duplicate_found").for_tenant(tenant).resource("subscription", id);
        let entry = entry.details(json!({ "provider": provider, "external_id": row.external.id }));
        self.0.audit.record_in(tx, entry).await?;
        self.enqueue_cleanup_in(tx, row).await
    }

    /// Requests the end of a subscription whose payment is lost in a dispute. Tells the operators.
    async fn end_disputed_in(&self, tx: &mut Tx, row: &StoredSubscription) -> Result<(), Error> {
        let (id, tenant, provider) = (row.id, row.tenant, row.external.provider.as_str());
        tracing::error!(
            target: "omnistack::billing", %id, %tenant, provider,
            "a dispute of a payment is lost; the subscription is canceled at the provider"
        );
        let entry = AuditEntry::new("subscription.cancel_requested").for_tenant(tenant).resource("subscription", id);
        let details = json!({ "reason": "dispute_lost", "provider": provider, "external_id": row.external.id });
        self.0.audit.record_in(tx, entry.details(details)).await?;
        self.enqueue_cleanup_in(tx, row).await
    }

    async fn enqueue_cleanup_in(&self, tx: &mut Tx, row: &StoredSubscription) -> Result<(), Error> {
        if !is_app_store(&row.external.provider) {
            let job = CleanUpSubscription { tenant: row.tenant, subscription: row.id };
            self.0.jobs.enqueue_in(tx, job.to_job()).await?;
        }
        Ok(())
    }

    /// Tells the owners of a tenant something about its subscription. One that gives no plan, such as a tester's purchase
    /// in an app store, is of no concern for them.
    async fn notify_in(&self, tx: &mut Tx, row: &StoredSubscription, kind: BillingNoticeKind) -> Result<(), Error> {
        if row.external.environment != self.environment() {
            return Ok(());
        }
        let terms = &row.state.terms;
        let plan = self.0.accounts.known_definition(&terms.plan, Some(terms.version)).await;
        let plan = plan.map_or_else(|_| terms.plan.clone(), |definition| definition.name.clone());
        let notice = BillingNotice::new(row.tenant, row.external.environment, plan, kind);
        self.0.events.publish_in(tx, &notice).await?;
        Ok(())
    }

    /// Assigns the plan that the subscriptions of a tenant give it, or the default plan.
    async fn assign_plan_in(
        &self,
        tx: &mut Tx,
        row: &StoredSubscription,
        before: &SubscriptionState,
    ) -> Result<(), Error> {
        let (tenant, environment) = (row.tenant, row.external.environment);
        if environment != self.environment() {
            return Ok(());
        }
        let accounts = &self.0.accounts;
        let all = store::entitling(tx, tenant, environment).await?;
        let best = all.iter().max_by_key(|row| (row.state.terms.monthly_price, Reverse(row.provider_created_at)));
        let Some(best) = best else {
            // Another plan was assigned by an operator or by the app, and stays.
            if accounts.has_plan_in(tx, tenant, &before.terms.plan).await? {
                let default = accounts.default_definition();
                let assignment = PlanAssignment::new(&default.key).version(default.version);
                accounts.assign_plan_in(tx, tenant, &assignment).await?;
            }
            if before.terms.per_seat {
                accounts.set_seats_from_provider_in(tx, tenant, None).await?;
            }
            return Ok(());
        };
        let terms = &best.state.terms;
        let definition = accounts.known_definition(&terms.plan, Some(terms.version)).await?;
        let mut assignment = PlanAssignment::new(&terms.plan).version(terms.version);
        // Limits count in the interval of the plan, also if it is paid by year.
        if let PlanPrice::Fixed { interval, .. } = definition.price {
            let anchor = best.state.trial_end.unwrap_or(best.provider_created_at);
            assignment = assignment.period(anchor, interval);
        }
        accounts.assign_plan_in(tx, tenant, &assignment).await?;
        if terms.per_seat {
            accounts.set_seats_from_provider_in(tx, tenant, Some(terms.quantity)).await?;
        } else if before.terms.per_seat {
            accounts.set_seats_from_provider_in(tx, tenant, None).await?;
        }
        Ok(())
    }
}
