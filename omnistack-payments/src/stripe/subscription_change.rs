//! Changes of the price and the quantity of a subscription.

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{
        ChangePreview, ChangeTime, PaymentError, ProviderSubscription, ProviderSubscriptionStatus, SubscriptionChange,
        SubscriptionItem,
    },
};
use serde_json::{Value, json};

use super::{
    api::{StripeApi, id_segment},
    object::StripeObject,
    subscription::{INVOICE, SUBSCRIPTION, subscription_of, subscription_path},
};

const SCHEDULE: &str = "schedule of a subscription";

impl StripeApi {
    /// Returns what a change would cost.
    pub(super) async fn preview_change(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ChangePreview, PaymentError> {
        let current = self.subscription(id).await?;
        let item = changed_item(&current)?;
        let next = self.previewed_amount(id, item, change, json!({ "preview_mode": "recurring" })).await?;
        match change.when {
            ChangeTime::Now { proration_at } => {
                let details = json!({
                    "subscription_details": {
                        "proration_behavior": "always_invoice",
                        "proration_date": proration_at.as_seconds(),
                    },
                });
                let due_now = self.previewed_amount(id, item, change, details).await?;
                Ok(ChangePreview { due_now: Some(due_now), next: Some(next), proration_at, effective_at: proration_at })
            }
            ChangeTime::PeriodEnd => {
                let (_, end) = current.period.ok_or_else(no_period)?;
                Ok(ChangePreview { due_now: None, next: Some(next), proration_at: end, effective_at: end })
            }
        }
    }

    async fn previewed_amount(
        &self,
        id: &str,
        item: &SubscriptionItem,
        change: &SubscriptionChange,
        mut form: Value,
    ) -> Result<Money, PaymentError> {
        form["subscription"] = json!(id);
        form["subscription_details"]["items"] = json!([changed_form(item, change)]);
        // A preview changes nothing, so the same request twice needs no key.
        let preview = self.post(INVOICE, "/invoices/create_preview", form, None).await;
        let preview = preview.map_err(super::error::not_charged)?;
        preview.read(|invoice| invoice.money("/amount_due")).map_err(super::error::not_charged)
    }

    /// Changes the price or the quantity of the first item.
    pub(super) async fn change_subscription(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ProviderSubscription, PaymentError> {
        match change.when {
            ChangeTime::Now { proration_at } => {
                self.release_schedule(id, &change.idempotency_key).await?;
                let current = self.subscription(id).await?;
                // With `pending_if_incomplete`, the old price stays until the difference is paid. By default, Stripe
                // changes the price at once, also if the payment fails.
                let form = json!({
                    "items": [changed_form(changed_item(&current)?, change)],
                    "payment_behavior": "pending_if_incomplete",
                    "proration_behavior": "always_invoice",
                    "proration_date": proration_at.as_seconds(),
                });
                let key = Some(change.idempotency_key.as_str());
                self.post(SUBSCRIPTION, &subscription_path(id)?, form, key).await?.read(subscription_of)
            }
            ChangeTime::PeriodEnd => self.schedule_change(id, change).await,
        }
    }

    /// Plans a change for the end of the period, by a schedule of two phases that ends after the change.
    async fn schedule_change(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ProviderSubscription, PaymentError> {
        let reply = self.subscription_object(id).await?;
        let current = reply.read(subscription_of)?;
        let item = changed_item(&current)?;
        let (start, end) = current.period.ok_or_else(no_period)?;
        let key = &change.idempotency_key;
        let schedule = match reply.object().id_at("/schedule") {
            Some(schedule) => schedule.to_owned(),
            None => {
                let form = json!({ "from_subscription": id });
                let created =
                    self.post(SCHEDULE, "/subscription_schedules", form, Some(&format!("{key}:schedule"))).await?;
                created.read(|schedule| schedule.owned("/id"))?
            }
        };
        let object = reply.object();
        // A metered price has no quantity, and Stripe accepts none.
        let form_of =
            |other: StripeObject<'_>| json!({ "price": other.id_at("/price"), "quantity": other.integer("/quantity") });
        let current_items: Vec<Value> = object.items("/items").map(form_of).collect();
        let next_items: Vec<Value> = object
            .items("/items")
            .map(|other| {
                if other.text("/id") == Some(item.id.as_str()) {
                    json!({ "price": change.price, "quantity": change.quantity })
                } else {
                    form_of(other)
                }
            })
            .collect();
        // A phase has what it states: without them, the trial would end now, and the discounts with it.
        let trial_end = current.trial_end.filter(|_| current.status == ProviderSubscriptionStatus::Trialing);
        let discounts: Vec<Value> =
            object.items("/discounts").filter_map(|item| Some(json!({ "discount": item.id_at("")? }))).collect();
        let discounts = if discounts.is_empty() { Value::Null } else { Value::Array(discounts) };
        let form = json!({
            "end_behavior": "release",
            "proration_behavior": "none",
            "phases": [
                {
                    "items": current_items, "start_date": start.as_seconds(), "end_date": end.as_seconds(),
                    "trial_end": trial_end.map(Timestamp::as_seconds), "discounts": discounts,
                },
                {
                    "items": next_items, "start_date": end.as_seconds(), "proration_behavior": "none",
                    "discounts": discounts,
                },
            ],
        });
        let path = format!("/subscription_schedules/{}", id_segment(SCHEDULE, &schedule)?);
        self.post(SCHEDULE, &path, form, Some(&format!("{key}:phases"))).await?;
        self.subscription(id).await.map_err(|error| PaymentError::Unknown {
            message: format!("the changed subscription could not be read: {error}"),
        })
    }

    /// Ends the schedule of a subscription, which would refuse or undo other changes. Without a schedule, it does
    /// nothing.
    pub(super) async fn release_schedule(&self, id: &str, key: &str) -> Result<(), PaymentError> {
        let reply = self.subscription_object(id).await?;
        let Some(schedule) = reply.object().id_at("/schedule") else { return Ok(()) };
        let path = format!("/subscription_schedules/{}/release", id_segment(SCHEDULE, schedule)?);
        self.post(SCHEDULE, &path, json!({}), Some(&format!("{key}:release"))).await?;
        Ok(())
    }
}

fn changed_form(item: &SubscriptionItem, change: &SubscriptionChange) -> Value {
    json!({ "id": item.id, "price": change.price, "quantity": change.quantity })
}

/// Returns the item that a change is about: the first one, which is the plan. Others are usage.
fn changed_item(subscription: &ProviderSubscription) -> Result<&SubscriptionItem, PaymentError> {
    subscription.items.first().ok_or_else(|| PaymentError::Rejected {
        code: Some("no_items".to_owned()),
        message: "the subscription has no price that could be changed".to_owned(),
    })
}

fn no_period() -> PaymentError {
    PaymentError::Rejected {
        code: Some("no_period".to_owned()),
        message: "the subscription has no current period; change it now instead".to_owned(),
    }
}
