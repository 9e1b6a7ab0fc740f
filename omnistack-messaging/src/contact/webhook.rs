//! The jobs of the contact form: calling the webhook, and deleting old messages.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ContactMessageId, store};
use omnistack_core::{
    BoxError,
    clock::Clock,
    db::Db,
    http::{
        StatusCode,
        client::{Client, base_url, is_refused},
        header,
    },
    jobs::{Job, JobContext, JobError},
    resilience::Classification,
    webhook::StandardSecret,
};

/// The job that posts a message to `CONTACT_WEBHOOK_URL`, signed as [Standard
/// Webhooks](https://www.standardwebhooks.com) specifies, with the same id for all attempts. It makes up to ten
/// attempts in four days, until the receiver responds with 2xx or 410.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContactWebhookJob {
    /// The id of the message.
    pub message: ContactMessageId,
}

/// The receiver of the webhook.
#[derive(Clone)]
pub(super) struct ContactWebhookTarget {
    pub(super) client: Client,
    pub(super) url: Url,
    pub(super) secret: StandardSecret,
    pub(super) timeout: Duration,
}

/// State of the jobs of the contact form.
#[derive(Clone, Debug)]
pub struct ContactJobState {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) keep: Duration,
    pub(super) target: Option<ContactWebhookTarget>,
}

/// The pauses between attempts, as Standard Webhooks recommends.
const RETRY_PAUSES: [Duration; 9] = {
    const fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }
    [
        Duration::from_secs(5),
        minutes(5),
        minutes(30),
        minutes(120),
        minutes(300),
        minutes(600),
        minutes(840),
        minutes(1200),
        minutes(1440),
    ]
};

/// The total of the pauses, and a little more. After that time, the receiver's `Retry-After` is not followed and
/// every attempt counts.
const RETRY_PERIOD: Duration = Duration::from_hours(4 * 24);

/// Longest `Retry-After` of a receiver that is followed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

#[async_trait]
impl Job for ContactWebhookJob {
    const NAME: &'static str = "contact.send_webhook";
    const QUEUE: &'static str = "webhooks";
    const MAX_ATTEMPTS: u32 = 10;
    const TIMEOUT: Duration = Duration::from_secs(120);

    type State = ContactJobState;

    async fn run(self, teller: &ContactJobState, _: &JobContext) -> Result<(), JobError> {
        let Some(target) = &teller.target else {
            tracing::warn!(target: "omnistack::contact", "CONTACT_WEBHOOK_URL is no longer set; a message is not posted");
            return Ok(());
        };
        let Some(message) = store::get(&teller.db, self.message).await? else { return Ok(()) };
        let body = json!({ "type": "contact.message", "timestamp": message.created_at, "data": message }).to_string();
        let (id, seconds) = (format!("contact_{}", self.message), teller.clock.now().as_seconds());
        let signature = target.secret.sign(&id, seconds, body.as_bytes());
        let request = target
            .client
            .post(target.url.clone())
            .timeout(target.timeout)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(body);
        // The URL may contain a secret.
        let answer = match request.send().await.map_err(reqwest::Error::without_url) {
            Err(error) if is_refused(&error) => {
                return Err(JobError::retry(
                    "`CONTACT_WEBHOOK_URL` leads to no public address: set another URL, or add the network to \
                     HTTP_CLIENT_ALLOWED_NETWORKS",
                ));
            }
            answer => answer?,
        };
        let (status, headers) = (answer.status(), answer.headers());
        if status.is_success() {
            return Ok(());
        }
        let failed = format!("the webhook's receiver responded with {status}");
        if status == StatusCode::GONE {
            return Err(JobError::fatal(failed));
        }
        match Classification::from_response(status, headers, teller.clock.now()).retry_delay() {
            Some(wait) if teller.clock.now().duration_since(message.created_at) < RETRY_PERIOD => {
                Err(JobError::snooze(wait.clamp(Duration::from_secs(1), MAX_RETRY_AFTER)))
            }
            _ => Err(JobError::retry(failed)),
        }
    }

    fn backoff(attempt: u32) -> Duration {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        RETRY_PAUSES[index.min(RETRY_PAUSES.len() - 1)]
    }
}

/// Parses the URL of a webhook, which may have a query. Fails if it is neither `https` nor on this machine.
pub(super) fn url(text: &str) -> Result<Url, BoxError> {
    let url: Url = text.parse()?;
    let mut plain = url.clone();
    plain.set_query(None);
    base_url(plain.as_str())?;
    Ok(url)
}

/// Parses the webhook's secret: `whsec_` and base64 of 24 to 64 bytes. Returns `None` if it is not valid.
pub(super) fn secret(text: &str) -> Option<StandardSecret> {
    let bytes = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
    if (24..=64).contains(&bytes.len()) { StandardSecret::from_bytes(&bytes).ok() } else { None }
}

impl fmt::Debug for ContactWebhookTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// The job that deletes messages that were sent longer ago than `CONTACT_KEEP`. It runs every night.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PurgeContacts {}

#[async_trait]
impl Job for PurgeContacts {
    const NAME: &'static str = "contact.purge_messages";

    type State = ContactJobState;

    async fn run(self, teller: &ContactJobState, _: &JobContext) -> Result<(), JobError> {
        let forgotten = store::purge(&teller.db, teller.keep, teller.clock.now()).await?;
        tracing::debug!(target: "omnistack::contact", forgotten, "old messages were deleted");
        Ok(())
    }
}
