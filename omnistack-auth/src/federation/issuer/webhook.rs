//! Webhooks with which Clerk and Supabase report changes of their users. They are signed as Standard Webhooks
//! specifies, of which Svix is another name.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    http::{HeaderMap, StatusCode},
    jobs::JobError,
    webhook::{
        InboundWebhook, SourceEvent, StandardHeaders, StandardSecret, WebhookHandler, WebhookOutcome, WebhookRejection,
        WebhookRequest, WebhookSource, WebhookTx,
    },
};
use serde::Deserialize;
use serde_json::Value;

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

/// Time for which the id of a delivery is stored to detect repetitions. Both providers stop retrying earlier.
const DELIVERY_ID_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Largest length of a user's id that orders webhooks, in bytes.
const MAX_OBJECT_BYTES: usize = 200;

/// An identity provider that sends webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WebhookProvider {
    Clerk,
    Supabase,
}

impl WebhookProvider {
    /// Returns the name of the source, which is the last segment of the path too.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Clerk => "clerk",
            Self::Supabase => "supabase",
        }
    }

    const fn vendor(self) -> Vendor {
        match self {
            Self::Clerk => Vendor::Clerk,
            Self::Supabase => Vendor::Supabase,
        }
    }
}

/// An identity provider as a source of webhooks. They are signed with a secret of one of its issuers.
pub(crate) struct IdentityProviderSource {
    provider: WebhookProvider,
    issuers: Issuers,
}

impl IdentityProviderSource {
    /// Returns the issuers of this provider.
    fn verifiers(&self) -> impl Iterator<Item = &Verifier> {
        let preset = self.provider.vendor();
        self.issuers.trusted().iter().filter(move |verifier| verifier.preset == preset)
    }

    fn secrets(&self) -> Vec<StandardSecret> {
        self.verifiers().flat_map(|verifier| verifier.webhook_secrets.iter().cloned()).collect()
    }

    /// Returns the issuer whose secret has signed a webhook at any time.
    fn signer(&self, headers: &StandardHeaders<'_>, body: &[u8]) -> Option<&Verifier> {
        let signed_at = Timestamp::from_micros(headers.seconds.saturating_mul(1_000_000));
        self.verifiers().find(|verifier| headers.verify(&verifier.webhook_secrets, body, signed_at).is_ok())
    }
}

#[async_trait]
impl WebhookSource for IdentityProviderSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        StandardHeaders::read(request.headers)?.verify(&self.secrets(), request.body, request.now)
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        describe(request)
    }

    fn sign(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        self.secrets().first()?.sign_request(request)
    }
}

/// Describes the event in a request.
fn describe(request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
    let id = StandardHeaders::read(request.headers)?.id;
    let message: WebhookMessage = request.json()?;
    let occurred_at = message.occurred_at();
    let is_object = |subject: &&str| subject.len() <= MAX_OBJECT_BYTES && is_plain_name(subject);
    let subject = message.user_id().filter(is_object).map(str::to_owned);
    Ok(SourceEvent::new(id, message.kind).object(subject).occurred_at(occurred_at))
}

/// Describes the event in a request, and reads it as one of each provider, for fuzz targets.
pub(crate) fn parse_all(request: &WebhookRequest<'_>) {
    _ = describe(request);
    for provider in [WebhookProvider::Clerk, WebhookProvider::Supabase] {
        _ = UserEvent::read(provider, request.body);
    }
}

/// The handler that applies changes of users at an identity provider.
pub(crate) struct IdentityProviderHandler {
    source: IdentityProviderSource,
    webhooks: IdentityProviderWebhooks,
}

#[async_trait]
impl WebhookHandler for IdentityProviderHandler {
    async fn handle(&self, webhook: &InboundWebhook, _: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        let headers = StandardHeaders::read(&webhook.headers).map_err(JobError::fatal)?;
        let unknown = || JobError::fatal("the secret that signed the webhook belongs to no issuer of the app any more");
        let verifier = self.source.signer(&headers, &webhook.body).ok_or_else(unknown)?;
        let malformed = || JobError::fatal("the body does not have the form of this provider's events about users");
        let event = UserEvent::read(self.source.provider, &webhook.body).ok_or_else(malformed)?;
        let Some(event) = event else { return Ok(WebhookOutcome::Ignored) };
        Ok(self.webhooks.apply(verifier, &headers, event, webhook.received_at).await?)
    }
}

/// The handler of the webhooks of identity providers.
#[derive(Clone)]
pub(crate) struct IdentityProviderWebhooks {
    issuers: Issuers,
    sync: UserProvisioner,
    sessions: Sessions,
}

impl IdentityProviderWebhooks {
    pub(crate) fn new(issuers: Issuers, sync: UserProvisioner, sessions: Sessions) -> Self {
        Self { issuers, sync, sessions }
    }

    /// Returns the source of a provider's webhooks.
    pub(crate) fn source(&self, provider: WebhookProvider) -> IdentityProviderSource {
        IdentityProviderSource { provider, issuers: self.issuers.clone() }
    }

    /// Returns the handler of a provider's webhooks.
    pub(crate) fn handler(&self, provider: WebhookProvider) -> IdentityProviderHandler {
        IdentityProviderHandler { source: self.source(provider), webhooks: self.clone() }
    }

    /// Applies a change of a user at an issuer. A repeated delivery changes nothing.
    async fn apply(
        &self,
        verifier: &Verifier,
        headers: &StandardHeaders<'_>,
        event: UserEvent,
        received_at: Timestamp,
    ) -> Result<WebhookOutcome, Error> {
        let signed_at = Timestamp::from_micros(headers.seconds.saturating_mul(1_000_000));
        let at = event.at.unwrap_or(signed_at).min(received_at);
        let UserEvent { subject, change, profile, .. } = event;
        let identity = ExternalIdentity { issuer: verifier.issuer.clone(), subject, profile };
        let assertion = Assertion { identity: &identity, at, policy: verifier.link_policy(), client: None };
        let hash = Sha256::digest_parts([b"webhook ", verifier.issuer.as_bytes(), b" ", headers.id.as_bytes()]);
        retry_on_conflict(|| self.apply_once(change, assertion, &hash)).await
    }

    /// Applies a change in a transaction of its own, once for each delivery. Returns `None` if another transaction
    /// conflicts, after which it is tried again; the transaction of the webhook could not be begun again.
    async fn apply_once(
        &self,
        change: UserEventKind,
        assertion: Assertion<'_>,
        delivery: &Sha256,
    ) -> Result<Option<WebhookOutcome>, Error> {
        let mut tx = self.sync.db().all_tenants().begin().await?;
        if !self.sync.record_delivery_in(&mut tx, delivery, self.sync.now() + DELIVERY_ID_TTL).await? {
            return Ok(Some(WebhookOutcome::Processed));
        }
        let changed = match change {
            UserEventKind::Deleted => self.sync.disable_in(&mut tx, &self.sessions, assertion).await,
            UserEventKind::Said => self.sync.store_assertion_in(&mut tx, assertion).await,
        };
        match changed {
            Ok(Some(user)) => {
                tx.commit().await?;
                self.sessions.invalidate_user(user).await;
                Ok(Some(WebhookOutcome::Processed))
            }
            Ok(None) => Ok(None),
            // Registration is closed, so there is no account to change; a repetition would not change that.
            Err(error) if error.is_response_with_status(StatusCode::FORBIDDEN) => Ok(Some(WebhookOutcome::Ignored)),
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
    timestamp: Option<Value>,
    data: Option<Value>,
    schema: Option<String>,
    table: Option<String>,
    record: Option<Value>,
    old_record: Option<Value>,
}

impl WebhookMessage {
    /// Returns when the event occurred: Clerk states milliseconds since 1970, Standard Webhooks a text.
    fn occurred_at(&self) -> Option<Timestamp> {
        match self.timestamp.as_ref()? {
            Value::Number(millis) => Some(Timestamp::from_micros(millis.as_i64()?.saturating_mul(1000))),
            Value::String(time) => time.parse().ok(),
            _ => None,
        }
    }

    /// Returns the id of the user, or of another object, that the event is about.
    fn user_id(&self) -> Option<&str> {
        [&self.data, &self.record, &self.old_record].into_iter().find_map(|record| record.as_ref()?.get("id")?.as_str())
    }

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
