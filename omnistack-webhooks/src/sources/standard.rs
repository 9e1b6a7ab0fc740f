//! Senders of Standard Webhooks: Clerk, which uses Svix, Supabase's auth hooks, and any other.

use async_trait::async_trait;
use http::HeaderMap;
use omnistack_core::{
    module::Registry,
    webhook::{
        InvalidStandardSecret, SourceEvent, StandardHeaders, StandardSecret, WebhookRejection, WebhookRequest,
        WebhookSource,
    },
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    payload::{ProviderPayload, bounded_id, source_event},
    settings::StandardWebhookSettings,
};

/// The sender, which decides where an event has its type and its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StandardSender {
    /// The source `clerk`. Events of a development instance can't be told from those of production.
    Clerk,
    /// The source `supabase-auth`: hooks of Supabase Auth. Supabase waits for the response of a hook, so that hooks
    /// whose response has content, such as the one for custom claims, need a route of their own.
    SupabaseAuth,
    /// The source `standard`: any other sender.
    Other,
}

struct StandardSource {
    sender: StandardSender,
    secrets: Vec<StandardSecret>,
}

pub(super) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<StandardWebhookSettings>() else { return };
    let parse = |secret: &SecretString| StandardSecret::try_from(secret);
    let clerk = settings.clerk_secrets.as_slice().iter().map(parse).collect();
    add(registry, "clerk", StandardSender::Clerk, "WEBHOOKS_CLERK_SECRETS", clerk);

    let supabase = settings.supabase_auth_secrets.as_ref().map(|list| list.expose_secret().split('|'));
    let supabase = supabase.into_iter().flatten().map(StandardSecret::parse).collect();
    add(registry, "supabase-auth", StandardSender::SupabaseAuth, "WEBHOOKS_SUPABASE_AUTH_SECRETS", supabase);

    let raw = |secret: &SecretString| StandardSecret::from_bytes(secret.expose_secret().as_bytes());
    let parse = |secret: &SecretString| if settings.standard_raw { raw(secret) } else { parse(secret) };
    let standard = settings.standard_secrets.as_slice().iter().map(parse).collect();
    add(registry, "standard", StandardSender::Other, "WEBHOOKS_STANDARD_SECRETS", standard);
}

/// Adds a source if it has secrets, or reports that one of them is not valid.
fn add(
    registry: &mut Registry,
    source: &'static str,
    sender: StandardSender,
    setting: &str,
    secrets: Result<Vec<StandardSecret>, InvalidStandardSecret>,
) {
    match secrets {
        Ok(secrets) if secrets.is_empty() => {}
        Ok(secrets) => _ = registry.webhook_source(source, move |_| Ok(StandardSource { sender, secrets })),
        Err(error) => {
            let fix = match sender {
                StandardSender::Other => "copy the secret from the sender, or set WEBHOOKS_STANDARD_RAW_SECRETS=true",
                _ => "copy the signing secret from the page of the webhook at the provider",
            };
            registry.report_problem(format!("`{setting}` has a secret that is not valid: {error}"), fix);
        }
    }
}

#[async_trait]
impl WebhookSource for StandardSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        StandardHeaders::read(request.headers)?.verify(&self.secrets, request.body, request.now)
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let id = StandardHeaders::read(request.headers).map(|headers| headers.id);
        describe(self.sender, id.ok(), request.body)
    }

    fn sign(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        self.secrets.first()?.sign_request(request)
    }
}

/// Describes a message with this id.
pub(super) fn describe(sender: StandardSender, id: Option<&str>, body: &[u8]) -> Result<SourceEvent, WebhookRejection> {
    let message = ProviderPayload::parse(body)?;
    let (kind, object) = match sender {
        StandardSender::SupabaseAuth => {
            let object = message.text("/user/id").or_else(|| message.text("/user_id"));
            (hook(&message), object)
        }
        StandardSender::Clerk | StandardSender::Other => {
            (message.text("/type").or_else(|| message.text("/event_type")), message.text("/data/id"))
        }
    };
    Ok(source_event(id, Some(kind.as_deref().unwrap_or("message")))?
        .occurred_at(message.time("/timestamp").or_else(|| message.time("/metadata/time")))
        .object(object.as_deref().map(bounded_id)))
}

/// Returns the name of an auth hook. Older hooks are known by their content only.
fn hook(message: &ProviderPayload) -> Option<String> {
    let by_content = [("/sms", "send-sms"), ("/email_data", "send-email"), ("/claims", "custom-access-token")];
    let known = by_content.iter().find(|(pointer, _)| message.get(pointer).is_some());
    message
        .text("/type")
        .or_else(|| message.text("/metadata/name"))
        .or_else(|| known.map(|(_, name)| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_objects_of_senders() {
        for (sender, body, kind, object) in [
            (
                StandardSender::Clerk,
                r#"{"type":"user.created","data":{"id":"user_1"}}"#,
                "user.created",
                Some("user_1"),
            ),
            (StandardSender::SupabaseAuth, r#"{"user":{"id":"u1"},"sms":{"otp":"1"}}"#, "send-sms", Some("u1")),
            (StandardSender::SupabaseAuth, r#"{"user_id":"u1","claims":{}}"#, "custom-access-token", Some("u1")),
            (
                StandardSender::SupabaseAuth,
                r#"{"metadata":{"name":"before-user-created","time":"2030-01-01T00:00:00Z"},"user":{"id":"u1"}}"#,
                "before-user-created",
                Some("u1"),
            ),
            (StandardSender::Other, r#"{"test": 2432232314}"#, "message", None),
        ] {
            let event = describe(sender, Some("msg_1"), body.as_bytes()).unwrap();
            assert_eq!((event.kind.as_str(), event.object.as_deref()), (kind, object), "{body}");
        }
        assert!(matches!(describe(StandardSender::Other, None, b"{}"), Err(WebhookRejection::Malformed(_))));
    }
}
