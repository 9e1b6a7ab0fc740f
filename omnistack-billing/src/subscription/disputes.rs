//! Disputes: while a payment of a subscription is disputed, and after a lost dispute, the tenant does not have the plan.
//! A lost dispute also ends the subscription, which the provider would go on billing.

use std::sync::Arc;

use omnistack_core::{
    audit::AuditEntry,
    db::{self, Tx},
    http::Error,
    payment::{PaymentError, PaymentProvider},
};
use serde_json::json;

use super::{
    errors::payment_error,
    handle::Subscriptions,
    machine::SubscriptionFact,
    settings::LostDisputeAction,
    store::{self, ExternalKey, StoredSubscription},
};

/// A dispute as an event reports it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportedDispute<'a> {
    pub(super) id: &'a str,
    pub(super) payment: Option<&'a str>,
    pub(super) won: Option<bool>,
}

impl Subscriptions {
    /// Stores a dispute of a payment of a subscription, and freezes the subscription, or releases it if the dispute is
    /// won. Of another payment, a lost dispute takes back the credits that it has bought.
    pub(super) async fn note_dispute(
        &self,
        provider: &Arc<dyn PaymentProvider>,
        dispute: ReportedDispute<'_>,
    ) -> Result<(), Error> {
        let Some(payment) = dispute.payment else { return Ok(()) };
        let read = match provider.payment(payment).await {
            Ok(read) => read,
            Err(PaymentError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(payment_error(error)),
        };
        if dispute.won == Some(false) {
            self.take_back_disputed(provider.as_ref(), dispute.id, &read, payment).await?;
        }
        let Some(subscription) = read.subscription else { return Ok(()) };
        let key = ExternalKey {
            provider: provider.name().to_owned(),
            environment: provider.environment(),
            id: subscription.clone(),
        };
        let row = match self.find(&key).await? {
            Some(row) => Some(row),
            None => self.refresh(provider, &subscription).await?,
        };
        let Some(row) = row else { return Ok(()) };
        let mut tx = self.0.db.tenant(row.tenant).begin().await?;
        self.0.accounts.lock_account_in(&mut tx, row.tenant).await?;
        let Some(row) = store::get(&mut tx, row.id).await? else { return Ok(tx.rollback().await?) };
        if self.save_dispute_in(&mut tx, &row, dispute).await? {
            let sql = "select count(*) from omni_billing_disputes where tenant_id = $1 and subscription_id = $2
                and status <> 'won'";
            let (open,): (i64,) = tx.query(sql).bind(row.tenant).bind(row.id).fetch_one().await?;
            let fact = SubscriptionFact::Disputes(u32::try_from(open).unwrap_or(u32::MAX));
            let row = Box::pin(self.apply_in(&mut tx, row, &fact)).await?;
            if dispute.won == Some(false) && self.0.lost_dispute == LostDisputeAction::Cancel {
                Box::pin(self.apply_in(&mut tx, row, &SubscriptionFact::DisputeLost)).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Stores a dispute. A decided one stays as it is, but a lost one can be won later. Returns whether something has
    /// changed.
    async fn save_dispute_in(
        &self,
        tx: &mut Tx,
        row: &StoredSubscription,
        dispute: ReportedDispute<'_>,
    ) -> Result<bool, db::Error> {
        let status = match dispute.won {
            None => "open",
            Some(true) => "won",
            Some(false) => "lost",
        };
        let sql = "insert into omni_billing_disputes (provider, environment, external_id, tenant_id, subscription_id,
            payment, status, created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
            on conflict (provider, environment, external_id) do update set status = excluded.status,
            updated_at = excluded.updated_at
            where (omni_billing_disputes.status = 'open' and excluded.status <> 'open')
            or (omni_billing_disputes.status = 'lost' and excluded.status = 'won')";
        let insert = tx.query(sql).bind(row.external.provider.clone()).bind(row.external.environment.as_str());
        let insert = insert.bind(dispute.id.to_owned()).bind(row.tenant).bind(row.id);
        let insert = insert.bind(dispute.payment.map(str::to_owned)).bind(status).bind(self.now());
        if insert.execute().await? == 0 {
            return Ok(false);
        }
        let entry = AuditEntry::new(format!("subscription.dispute_{status}")).for_tenant(row.tenant);
        let details = json!({ "dispute": dispute.id, "payment": dispute.payment });
        let entry = entry.resource("subscription", row.id).details(details);
        self.0.audit.record_in(tx, entry).await?;
        Ok(true)
    }
}
