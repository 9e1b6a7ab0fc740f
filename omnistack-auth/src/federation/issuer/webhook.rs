//! Webhooks with which Clerk and Supabase report changes of their users. They are signed as Standard Webhooks
//! specifies, of which Svix is another name.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    ExposeSecret as _,
    clock::Timestamp,
    crypto::{HmacKey, Sha256},
    http::{self, StatusCode},
};
use secrecy::SecretString;
use serde::Deserialize;
use std::time::Duration;

use super::{
    claims::is_plain_name,
    vendors::Vendor,
    verify::{Issuers, Verifier},
};
use crate::{
    Error,
    federation::{
        external_identity::{self, ExternalIdentity, ExternalProfile},
        linking::{Assertion, retry_on_conflict},
        provisioning::UserProvisioner,
    },
    session::Sessions,
    users::normalize_email,
};

/// The maximum age of a message, and how far ahead of the app's clock it may be, in seconds.
const TOLERANCE_SECONDS: i64 = 5 * 60;
/// The maximum number of a message's signatures that are checked.
const MAX_SIGNATURES: usize = 16;
/// Time for which the id of a delivery is stored to detect repetitions. Both providers stop retrying earlier.
const DELIVERY_ID_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Decodes a secret as providers show it: `whsec_` (after `v1,` at Supabase) and base64 of at least 24 bytes. Returns
/// `None` if it has another form.
pub(crate) fn decode_secret(secret: &SecretString) -> Option<HmacKey> {
    let secret = secret.expose_secret();
    let secret = secret.strip_prefix("v1,").unwrap_or(secret);
    let bytes = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    if bytes.len() < 24 { None } else { HmacKey::new(bytes).ok() }
}

/// The signature headers of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivery<'a> {
    pub(crate) id: &'a str,
    pub(crate) timestamp: &'a str,
    pub(crate) signature: &'a str,
}

impl Delivery<'_> {
    /// Returns whether one of the signatures is valid for the body.
    fn is_signed(&self, key: &HmacKey, body: &[u8]) -> bool {
        let parts = [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body];
        let expected = key.sign_parts(parts);
        let signatures = self.signature.split(' ').take(MAX_SIGNATURES).filter_map(|one| one.strip_prefix("v1,"));
        // All signatures are checked, so that the duration doesn't reveal which one is valid.
        signatures.fold(false, |any, one| STANDARD.decode(one).is_ok_and(|one| expected.verify(one)) | any)
    }

    /// Returns the time it was sent, or `None` if that is malformed or more than five minutes from now.
    fn sent_at(&self, now: Timestamp) -> Option<Timestamp> {
        let digits = !self.timestamp.is_empty() && self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: i64 = digits.then(|| self.timestamp.parse().ok())??;
        ((now.as_seconds() - seconds).abs() <= TOLERANCE_SECONDS).then(|| Timestamp::from_micros(seconds * 1_000_000))
    }
}

/// Processes the webhooks of identity providers.
#[derive(Clone)]
pub(crate) struct IdentityProviderWebhooks {
    issuers: Issuers,
    sync: UserProvisioner,
    sessions: Sessions,
}

/// The sender of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WebhookProvider {
    Clerk,
    Supabase,
}

impl IdentityProviderWebhooks {
    pub(crate) fn new(issuers: Issuers, sync: UserProvisioner, sessions: Sessions) -> Self {
        Self { issuers, sync, sessions }
    }

    /// Processes a message. A repeated delivery changes nothing.
    ///
    /// # Errors
    /// Returns 401 if the message is not signed or its time is not near the current one, and 422 if its body is
    /// invalid.
    pub(crate) async fn receive(
        &self,
        from: WebhookProvider,
        delivery: Delivery<'_>,
        body: &[u8],
    ) -> Result<(), Error> {
        let now = self.sync.now();
        let sent = delivery.sent_at(now).filter(|_| is_plain_name(delivery.id)).ok_or_else(unsigned)?;
        let preset = match from {
            WebhookProvider::Clerk => Vendor::Clerk,
            WebhookProvider::Supabase => Vendor::Supabase,
        };
        let mut ours = self.issuers.trusted().iter().filter(|verifier| verifier.preset == preset);
        let is_from = |verifier: &&Verifier| verifier.webhook_keys.iter().any(|key| delivery.is_signed(key, body));
        let verifier = ours.find(is_from).ok_or_else(unsigned)?;
        let Some(event) = UserEvent::read(from, body).ok_or_else(unreadable)? else { return Ok(()) };
        let at = event.at.unwrap_or(sent).min(now);
        let UserEvent { subject, change, profile, .. } = event;
        let identity = ExternalIdentity { issuer: verifier.issuer.clone(), subject, profile };
        let assertion = Assertion { identity: &identity, at, policy: verifier.link_policy(), client: None };
        let hash = Sha256::digest_parts([b"webhook ", verifier.issuer.as_bytes(), b" ", delivery.id.as_bytes()]);
        retry_on_conflict(|| self.apply(change, assertion, &hash)).await
    }

    /// Applies a change in a transaction of its own, once for each delivery. Returns `None` if another transaction
    /// conflicts.
    async fn apply(
        &self,
        change: UserEventKind,
        assertion: Assertion<'_>,
        delivery: &Sha256,
    ) -> Result<Option<()>, Error> {
        let mut tx = self.sync.db().all_tenants().begin().await?;
        if !self.sync.record_delivery_in(&mut tx, delivery, self.sync.now() + DELIVERY_ID_TTL).await? {
            return Ok(Some(()));
        }
        let changed = match change {
            UserEventKind::Deleted => self.sync.disable_in(&mut tx, &self.sessions, assertion).await,
            UserEventKind::Said => self.sync.store_assertion_in(&mut tx, assertion).await,
        };
        match changed {
            Ok(Some(user)) => {
                tx.commit().await?;
                self.sessions.invalidate_user(user).await;
                Ok(Some(()))
            }
            Ok(None) => Ok(None),
            // Registration is closed, so there is no account to change; a repetition would not change that.
            Err(error) if error.is_response_with_status(StatusCode::FORBIDDEN) => Ok(Some(())),
            Err(error) => Err(error),
        }
    }
}

/// A change of a user at the provider.
struct UserEvent {
    subject: String,
    change: UserEventKind,
    profile: ExternalProfile,
    /// The time of the change, if the message has it.
    at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UserEventKind {
    Said,
    Deleted,
}

impl UserEvent {
    /// Parses a message. Returns `None` if it is malformed, and `Some(None)` if it is about another subject than users.
    fn read(from: WebhookProvider, body: &[u8]) -> Option<Option<Self>> {
        let message: WebhookMessage = serde_json::from_slice(body).ok()?;
        let change = match (message.kind.as_str(), from) {
            ("user.created" | "user.updated", _) => UserEventKind::Said,
            ("user.deleted", _) => UserEventKind::Deleted,
            ("INSERT" | "UPDATE", WebhookProvider::Supabase) if message.is_of_users() => UserEventKind::Said,
            ("DELETE", WebhookProvider::Supabase) if message.is_of_users() => UserEventKind::Deleted,
            _ => return Some(None),
        };
        let record = match change {
            UserEventKind::Deleted => message.data.or(message.old_record),
            UserEventKind::Said => message.data.or(message.record),
        };
        let event = match from {
            WebhookProvider::Clerk => serde_json::from_value::<ClerkUser>(record?).ok()?.into_event(change),
            WebhookProvider::Supabase => serde_json::from_value::<SupabaseUser>(record?).ok()?.into_event(change),
        };
        is_plain_name(&event.subject).then_some(Some(event))
    }
}

/// A message of Standard Webhooks, or of a Supabase database webhook.
#[derive(Deserialize)]
struct WebhookMessage {
    #[serde(rename = "type")]
    kind: String,
    data: Option<serde_json::Value>,
    schema: Option<String>,
    table: Option<String>,
    record: Option<serde_json::Value>,
    old_record: Option<serde_json::Value>,
}

impl WebhookMessage {
    fn is_of_users(&self) -> bool {
        self.schema.as_deref() == Some("auth") && self.table.as_deref() == Some("users")
    }
}

/// A user in Clerk's format.
#[derive(Deserialize)]
struct ClerkUser {
    id: String,
    first_name: Option<String>,
    last_name: Option<String>,
    username: Option<String>,
    image_url: Option<String>,
    primary_email_address_id: Option<String>,
    #[serde(default)]
    email_addresses: Vec<ClerkEmail>,
    /// Milliseconds since 1970.
    updated_at: Option<i64>,
}

#[derive(Deserialize)]
struct ClerkEmail {
    id: String,
    email_address: String,
    verification: Option<ClerkVerification>,
}

#[derive(Deserialize)]
struct ClerkVerification {
    status: Option<String>,
}

impl ClerkUser {
    fn into_event(self, change: UserEventKind) -> UserEvent {
        let verified = |email: &&ClerkEmail| {
            let status = email.verification.as_ref().and_then(|verification| verification.status.as_deref());
            Some(&email.id) == self.primary_email_address_id.as_ref() && status == Some("verified")
        };
        let email = self.email_addresses.iter().find(verified);
        let names = [self.first_name, self.last_name].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let name = Some(names).filter(|names| !names.trim().is_empty()).or(self.username);
        UserEvent {
            change,
            profile: ExternalProfile {
                email: email.and_then(|email| normalize_email(&email.email_address)),
                name: name.and_then(|name| external_identity::display_text(&name, 100)),
                picture: self.image_url.and_then(|url| external_identity::picture_url(&url)),
                locale: None,
            },
            at: self.updated_at.map(|time| Timestamp::from_micros(time.saturating_mul(1000))),
            subject: self.id,
        }
    }
}

/// A user in Supabase's format.
#[derive(Deserialize)]
struct SupabaseUser {
    id: String,
    email: Option<String>,
    email_confirmed_at: Option<String>,
    #[serde(default)]
    raw_user_meta_data: Option<SupabaseMetadata>,
    #[serde(default)]
    user_metadata: Option<SupabaseMetadata>,
    updated_at: Option<String>,
}

#[derive(Deserialize)]
struct SupabaseMetadata {
    full_name: Option<String>,
    name: Option<String>,
    avatar_url: Option<String>,
    picture: Option<String>,
}

impl SupabaseUser {
    fn into_event(self, change: UserEventKind) -> UserEvent {
        let email = self.email.filter(|_| self.email_confirmed_at.is_some());
        let metadata = self.raw_user_meta_data.or(self.user_metadata);
        let (name, picture) =
            metadata.map(|data| (data.full_name.or(data.name), data.avatar_url.or(data.picture))).unwrap_or_default();
        UserEvent {
            change,
            profile: ExternalProfile {
                email: email.and_then(|email| normalize_email(&email)),
                name: name.and_then(|name| external_identity::display_text(&name, 100)),
                picture: picture.and_then(|url| external_identity::picture_url(&url)),
                locale: None,
            },
            at: self.updated_at.and_then(|time| time.parse().ok()),
            subject: self.id,
        }
    }
}

fn unsigned() -> http::Error {
    let message = "the webhook is not signed with the secret of this app, or its time is not the current time";
    http::Error::new(StatusCode::UNAUTHORIZED, "WEBHOOK_SIGNATURE_INVALID", message)
}

fn unreadable() -> http::Error {
    let message = "the webhook is signed, but its body does not have the form of this provider's events";
    http::Error::new(StatusCode::UNPROCESSABLE_ENTITY, "WEBHOOK_MALFORMED", message)
}
