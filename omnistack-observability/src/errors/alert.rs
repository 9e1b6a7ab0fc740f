//! Alerts about groups: events, mails and a webhook.

use std::fmt;

use omnistack_core::{
    BoxError, async_trait,
    clock::Timestamp,
    email::{Address, Email, EmailErrorKind, Mailer},
    events::Event,
    http::{
        StatusCode,
        client::{Client, base_url, is_refused},
        header,
    },
    jobs::{Job, JobContext, JobError},
};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{ErrorGroupId, ErrorOriginKind};

/// The reason of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertReason {
    /// The group is new.
    New,
    /// The group was resolved, and has new errors.
    Regressed,
    /// The group is much more frequent in the current hour than in the hours before.
    Escalating,
}

impl AlertReason {
    /// Returns the name of the event, such as `error_group.new`.
    pub const fn event_name(self) -> &'static str {
        match self {
            Self::New => ErrorGroupNew::NAME,
            Self::Regressed => ErrorGroupRegressed::NAME,
            Self::Escalating => ErrorGroupEscalating::NAME,
        }
    }
}

/// A group that needs attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorGroupAlert {
    /// The id of the group.
    pub group: ErrorGroupId,
    /// The reason.
    pub reason: AlertReason,
    /// The kind of origin of the errors.
    pub origin: ErrorOriginKind,
    /// The error code.
    pub code: String,
    /// The normalised message.
    pub title: String,
    /// The version of the app that recorded the error.
    pub release: String,
    /// The time of the last error.
    pub last_seen: Timestamp,
}

macro_rules! group_event {
    ($(#[$doc:meta])* $type:ident, $name:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub ErrorGroupAlert);

        impl Event for $type {
            const NAME: &'static str = $name;

            fn key(&self) -> String {
                self.0.group.to_string()
            }
        }
    };
}

group_event! {
    /// An error of a new group occurred.
    ErrorGroupNew, "error_group.new"
}

group_event! {
    /// An error occurred of a group that an operator had resolved.
    ErrorGroupRegressed, "error_group.regressed"
}

group_event! {
    /// The errors of a group escalate: the current hour has at least 50, and more than five times the median of the 24
    /// hours before.
    ErrorGroupEscalating, "error_group.escalating"
}

/// The recipients of alerts.
#[derive(Clone)]
pub(super) struct AlertTargets {
    pub(super) mailer: Mailer,
    pub(super) recipients: Vec<Address>,
    pub(super) webhook: Option<(Client, Url)>,
    pub(super) app_name: String,
}

impl fmt::Debug for AlertTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let webhook = self.webhook.as_ref().and_then(|(_, url)| url.host_str());
        f.debug_struct("AlertTargets")
            .field("recipients", &self.recipients.len())
            .field("webhook", &webhook)
            .finish_non_exhaustive()
    }
}

/// Parses the URL of the webhook, which may have a query. Fails if it is neither `https` nor on this machine.
pub(super) fn webhook_url(text: &str) -> Result<Url, BoxError> {
    let url: Url = text.parse()?;
    let mut plain = url.clone();
    plain.set_query(None);
    base_url(plain.as_str())?;
    Ok(url)
}

/// The job that mails an alert to `ERRORS_ALERT_EMAIL`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SendErrorAlertMail {
    pub(super) alert: ErrorGroupAlert,
}

#[async_trait]
impl Job for SendErrorAlertMail {
    const NAME: &'static str = "errors.send_alert_mail";

    type State = AlertTargets;

    async fn run(self, targets: &AlertTargets, ctx: &JobContext) -> Result<(), JobError> {
        let Some((first, others)) = targets.recipients.split_first() else { return Ok(()) };
        let mail = compose(&self.alert, &targets.app_name).idempotency_key(format!("error-alert-{}", ctx.id()));
        let mail = others.iter().fold(mail.add_to(first), |mail, other| mail.add_to(other));
        match targets.mailer.send(&mail).await {
            Ok(_) => Ok(()),
            // Sending it again could deliver it twice.
            Err(error) if error.kind() == EmailErrorKind::Unknown => Err(JobError::fatal(error)),
            Err(error) if error.is_retryable() => Err(JobError::retry(error)),
            Err(error) => Err(JobError::fatal(error)),
        }
    }
}

/// Returns the mail about an alert, without recipients.
fn compose(alert: &ErrorGroupAlert, app_name: &str) -> Email {
    let what = match alert.reason {
        AlertReason::New => "New error",
        AlertReason::Regressed => "Error seen again",
        AlertReason::Escalating => "Error escalates",
    };
    let ErrorGroupAlert { group, origin, code, title, release, last_seen, .. } = alert;
    let text = format!(
        "{what} in {app_name}\n\n{title}\n\nCode: {code}\nOccurred in: a {}\nVersion: {release}\nLast seen: {}\n\
         Details: GET /api/v1/admin/errors/groups/{group}\n",
        origin.as_str(),
        last_seen.to_readable(),
    );
    Email::default().subject(format!("{what} in {app_name}: {code}")).text(text)
}

/// The job that posts an alert to `ERRORS_ALERT_WEBHOOK`, until the receiver responds with 2xx or 410.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SendErrorAlertWebhook {
    pub(super) alert: ErrorGroupAlert,
}

#[async_trait]
impl Job for SendErrorAlertWebhook {
    const NAME: &'static str = "errors.send_alert_webhook";
    const QUEUE: &'static str = "webhooks";

    type State = AlertTargets;

    async fn run(self, targets: &AlertTargets, ctx: &JobContext) -> Result<(), JobError> {
        let Some((client, url)) = &targets.webhook else { return Ok(()) };
        let alert = &self.alert;
        let body = json!({ "type": alert.reason.event_name(), "timestamp": alert.last_seen, "data": alert });
        let request = client
            .post(url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", format!("error_alert_{}", ctx.id()))
            .body(body.to_string());
        // The URL may contain a secret.
        let response = match request.send().await.map_err(reqwest::Error::without_url) {
            Err(error) if is_refused(&error) => {
                return Err(JobError::retry(
                    "`ERRORS_ALERT_WEBHOOK` leads to no public address: set another URL, or add the network to \
                     HTTP_CLIENT_ALLOWED_NETWORKS",
                ));
            }
            response => response?,
        };
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let failed = format!("the receiver of error alerts responded with {status}");
        if status == StatusCode::GONE {
            return Err(JobError::fatal(failed));
        }
        Err(JobError::retry(failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_is_https_or_on_this_machine() {
        for url in ["https://hooks.example.com/a?key=7", "http://127.0.0.1:9000/", "http://localhost/a"] {
            assert!(webhook_url(url).is_ok(), "{url}");
        }
        for url in ["http://hooks.example.com/", "ftp://example.com", "https://user:secret@example.com/", "hooks"] {
            assert!(webhook_url(url).is_err(), "{url}");
        }
    }
}
