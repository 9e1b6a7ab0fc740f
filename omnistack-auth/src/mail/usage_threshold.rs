//! The mail to the owners of a tenant whose usage has reached a threshold of its plan.

use async_trait::async_trait;
use omnistack_core::{
    db::Tx,
    email::Email,
    events::{Delivery, Subscriber},
    identity::UserId,
    jobs::JobError,
    module::Registry,
    usage::{DataEnvironment, UsageSink},
    usage_threshold::UsageThresholdReached,
};
use omnistack_messaging::email::template::Notification;
use serde::{Deserialize, Serialize};

use super::{AccountMail, AccountMailer, owners::OwnerMails, printable};
use crate::Error;

/// Name of the subscriber, which is stored with each delivery.
const SUBSCRIBER: &str = "auth.usage_threshold_reached";

/// The notice to an owner of a tenant that its usage has reached a threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsageThresholdNotice {
    owner: UserId,
    /// The name of the tenant.
    tenant: String,
    meter: String,
    /// In percent of the limit.
    threshold: String,
    /// Whether the threshold is the limit itself.
    is_used_up: bool,
    used: String,
    limit: String,
}

/// Subscribes to the event, if a module keeps a ledger of usage.
pub(crate) fn register(registry: &mut Registry) {
    registry.after_modules(|registry| {
        if registry.provides::<UsageSink>() {
            registry.subscribe(SUBSCRIBER, |ctx| OwnerMails::from_context(ctx).map(UsageThresholdSubscriber));
        }
    });
}

/// The subscriber that enqueues a mail to each owner of the tenant.
struct UsageThresholdSubscriber(OwnerMails);

#[async_trait]
impl Subscriber for UsageThresholdSubscriber {
    type Event = UsageThresholdReached;

    async fn handle(&self, event: UsageThresholdReached, delivery: &mut Delivery) -> Result<(), JobError> {
        if event.environment != DataEnvironment::Live {
            return Ok(());
        }
        let mail = |owner, tenant| {
            AccountMail::UsageThreshold(UsageThresholdNotice {
                owner,
                tenant,
                meter: event.meter.clone(),
                threshold: event.threshold.to_string(),
                is_used_up: event.threshold >= 100,
                used: event.used.to_string(),
                limit: event.limit.to_string(),
            })
        };
        self.0.enqueue_in(delivery, event.tenant, mail).await
    }
}

impl AccountMailer {
    /// Composes the notice. Returns `None` if the owner's account is gone or disabled, or has no email address.
    pub(super) async fn usage_threshold(
        &self,
        tx: &mut Tx,
        notice: UsageThresholdNotice,
    ) -> Result<Option<Email>, Error> {
        let UsageThresholdNotice { owner, tenant, meter, threshold, is_used_up, used, limit } = notice;
        let Some(account) = self.account(tx, owner).await? else { return Ok(None) };
        // A member has entered the name of the team.
        let (tenant, product) = (printable(&tenant), &self.product);
        let usage = format!("{tenant} has used {used} of the {limit} {meter} that its plan at {product} allows.");
        let advice = if is_used_up {
            "What exceeds the limit may be refused. Change to a larger plan to use more."
        } else {
            "What exceeds the limit may be refused. Change to a larger plan if you need more."
        };
        let notification = Notification {
            title: format!("{threshold} % of {meter} are used"),
            paragraphs: vec![usage, advice.to_owned()],
            action: Some((self.public_url.clone(), format!("Open {product}"))),
        };
        self.compose_to_account(&account, &notification)
    }
}
