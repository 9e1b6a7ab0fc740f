//! The mail to the owners of a tenant whose usage has reached a threshold of its plan.

use omnistack_core::{
    db::Tx,
    email::Email,
    identity::UserId,
    module::Registry,
    usage::{DataEnvironment, UsageSink},
    usage_threshold::UsageThresholdReached,
};
use omnistack_messaging::email::template::Notification;
use serde::{Deserialize, Serialize};

use super::{AccountMail, AccountMailer, notification::AccountNotification, owners::mail_owners, printable};
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

/// Mails the owners, if a module keeps a ledger of usage.
pub(crate) fn register(registry: &mut Registry) {
    mail_owners::<UsageSink, UsageThresholdReached>(registry, SUBSCRIBER, |event| event.tenant, mail);
}

/// Creates the mail to an owner. Returns `None` for the usage of tests.
fn mail(event: &UsageThresholdReached, owner: UserId, tenant: String) -> Option<AccountMail> {
    let notice = UsageThresholdNotice {
        owner,
        tenant,
        meter: event.meter.clone(),
        threshold: event.threshold.to_string(),
        is_used_up: event.threshold >= 100,
        used: event.used.to_string(),
        limit: event.limit.to_string(),
    };
    (event.environment == DataEnvironment::Live).then_some(AccountMail::UsageThreshold(notice))
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
        self.compose_to_account(&account, &AccountNotification::new("usage_threshold", notification))
    }
}
