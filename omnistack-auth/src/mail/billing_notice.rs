//! The mails to the owners of a tenant about its subscription.

use omnistack_core::{
    billing_notice::{BillingNotice, BillingNoticeKind},
    db::Tx,
    email::Email,
    identity::UserId,
    module::Registry,
    payment::PaymentProviders,
};
use omnistack_messaging::email::template::Notification;
use serde::{Deserialize, Serialize};

use super::{AccountMail, AccountMailer, notification::AccountNotification, owners::mail_owners, printable};
use crate::Error;

/// Name of the subscriber, which is stored with each delivery.
const SUBSCRIBER: &str = "auth.billing_notice";

/// The notice to an owner of a tenant about its subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubscriptionNotice {
    owner: UserId,
    /// The name of the tenant.
    tenant: String,
    /// The name of the plan.
    plan: String,
    subject: BillingNoticeKind,
}

/// Mails the owners, if a module takes payments.
pub(crate) fn register(registry: &mut Registry) {
    mail_owners::<PaymentProviders, BillingNotice>(
        registry,
        SUBSCRIBER,
        |event| event.tenant,
        |event, owner, tenant| {
            let notice = SubscriptionNotice { owner, tenant, plan: event.plan.clone(), subject: event.kind.clone() };
            Some(AccountMail::Subscription(notice))
        },
    );
}

impl AccountMailer {
    /// Composes the notice. Returns `None` if the owner's account is gone or disabled, or has no email address, and for
    /// a subject that this release does not know.
    pub(super) async fn subscription(&self, tx: &mut Tx, notice: SubscriptionNotice) -> Result<Option<Email>, Error> {
        let SubscriptionNotice { owner, tenant, plan, subject } = notice;
        let Some(account) = self.account(tx, owner).await? else { return Ok(None) };
        // A member has entered the name of the team.
        let (tenant, product) = (printable(&tenant), &self.product);
        let of = format!("the plan {plan} of {tenant} at {product}");
        let mut link = (self.public_url.clone(), format!("Open {product}"));
        let (title, paragraphs) = match subject {
            BillingNoticeKind::TrialEnding { at } => (
                format!("Your trial of {plan} ends soon"),
                vec![
                    format!("The trial of {of} ends on {}.", at.to_readable()),
                    "Add a payment method before then to keep the plan.".to_owned(),
                ],
            ),
            BillingNoticeKind::PaymentFailed { grace_until } => (
                format!("A payment for {plan} has failed"),
                vec![
                    format!("The payment for {of} has failed. It is attempted again in the next days."),
                    format!("Update the payment method to keep the plan after {}.", grace_until.to_readable()),
                ],
            ),
            BillingNoticeKind::CardExpiring { month, year } => (
                format!("Your card for {plan} expires soon"),
                vec![
                    format!("The card that pays for {of} expires in {month:02}/{year}, before the next payment."),
                    "Add another payment method to keep the plan.".to_owned(),
                ],
            ),
            BillingNoticeKind::Receipt { amount, number, url } => {
                if let Some(url) = url {
                    link = (url, "Open the invoice".to_owned());
                }
                let invoice =
                    number.map_or_else(String::new, |number| format!(" The invoice has the number {number}."));
                let paid = format!("Thank you. {amount} were paid for {of}.{invoice}");
                (format!("Receipt for {plan}"), vec![paid])
            }
            BillingNoticeKind::PlanChanged => {
                (format!("Your plan is {plan}"), vec![format!("{tenant} now has the plan {plan} at {product}.")])
            }
            BillingNoticeKind::SubscriptionEnded => (
                format!("Your subscription of {plan} has ended"),
                vec![
                    format!("The subscription of {of} has ended."),
                    "Your data stays. Choose a plan to continue.".to_owned(),
                ],
            ),
            _ => return Ok(None),
        };
        let content = Notification { title, paragraphs, action: Some(link) };
        self.compose_to_account(&account, &AccountNotification::new("subscription", content))
    }
}
