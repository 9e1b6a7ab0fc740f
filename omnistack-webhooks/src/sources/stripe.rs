//! Stripe: signed events, thin events of API v2, the events that it could not deliver, and the current state of
//! objects.
//!
//! Documentation: <https://docs.stripe.com/webhooks#verify-manually>.

mod api;
mod missed;
mod object;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName};
use omnistack_core::{
    BoxError,
    clock::Timestamp,
    module::Registry,
    webhook::{
        DataEnvironment, InboundWebhook, MissedWebhooks, SourceEvent, WebhookRejection, WebhookRequest, WebhookSource,
        is_recent,
    },
};
use serde_json::Value;

use self::api::StripeApi;
use super::{
    keys::{MAX_SIGNATURES, SharedKeys},
    payload::{ProviderPayload, bounded_id, source_event},
    settings::StripeWebhookSettings,
    sign::json_headers,
};

/// The header with the signature.
const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// The key of an object's metadata with the id of the tenant that it belongs to.
const TENANT_METADATA: &str = "/data/object/metadata/tenant_id";

/// Stripe, as the source `stripe`.
///
/// | field of the event | value |
/// |---|---|
/// | id, type, time | those of Stripe's event |
/// | object | the id of `data.object`, or of the related object of a thin event |
/// | environment | `test` unless `livemode` is true |
/// | tenant | `tenant_id` in the metadata of the object |
///
/// Events of connected accounts name no tenant, because their owners choose the metadata.
struct StripeSource {
    keys: SharedKeys,
    api: Option<StripeApi>,
}

pub(super) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<StripeWebhookSettings>() else { return };
    let secrets = settings.secrets.and(&settings.secret);
    if secrets.is_empty() && settings.api_key.is_some() {
        let what = "`WEBHOOKS_STRIPE_API_KEY` is set, and `WEBHOOKS_STRIPE_SECRETS` is not";
        registry.report_problem(what, "set WEBHOOKS_STRIPE_SECRETS to the signing secret `whsec_…` of the endpoint");
    }
    let name = if settings.secrets.is_empty() { "STRIPE_WEBHOOK_SECRET" } else { "WEBHOOKS_STRIPE_SECRETS" };
    let keys = SharedKeys::from_setting(registry, name, &secrets);
    let api = StripeApi::from_settings(registry, &settings);
    if let Some(keys) = keys {
        registry.webhook_source("stripe", move |_| Ok(StripeSource { keys, api }));
    }
}

#[async_trait]
impl WebhookSource for StripeSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let header = request.header(SIGNATURE.as_str());
        let header = header.ok_or(WebhookRejection::Unverified("the header `Stripe-Signature` is missing"))?;
        let signature = StripeSignature::parse(header)
            .ok_or(WebhookRejection::Unverified("the header `Stripe-Signature` has another form than `t=…,v1=…`"))?;
        let signed: [&[u8]; 3] = [signature.timestamp.as_bytes(), b".", request.body];
        if !self.keys.verify(&signed, &signature.signatures) {
            return Err(WebhookRejection::Unverified("no signature matches"));
        }
        let recent = is_recent(signature.seconds, request.now);
        recent.then_some(()).ok_or(WebhookRejection::Unverified("the timestamp is more than five minutes from now"))
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        describe(request.body)
    }

    fn sign(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        let seconds = request.now.as_seconds().to_string();
        let mac = self.keys.sign(&[seconds.as_bytes(), b".", request.body]);
        json_headers([(SIGNATURE, format!("t={seconds},v1={}", mac.to_hex()))])
    }

    async fn missed(&self, since: Timestamp) -> Result<Option<MissedWebhooks>, BoxError> {
        match &self.api {
            Some(api) => api.undelivered(since).await.map(Some),
            None => Ok(None),
        }
    }

    async fn fetch_object(&self, webhook: &InboundWebhook) -> Result<Option<Value>, BoxError> {
        match &self.api {
            Some(api) => api.object_of(&webhook.body).await,
            None => Ok(None),
        }
    }
}

/// The content of the header `Stripe-Signature`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StripeSignature<'a> {
    /// The time of the signature as it was signed.
    timestamp: &'a str,
    seconds: i64,
    /// The signatures of the scheme `v1`. There are several while a secret is being replaced. Those of `v0` are
    /// samples, and count for nothing.
    signatures: Vec<Vec<u8>>,
}

impl<'a> StripeSignature<'a> {
    /// Parses the header. Returns `None` if it has not exactly one time.
    pub(super) fn parse(header: &'a str) -> Option<Self> {
        let mut timestamp = None;
        let mut signatures = Vec::new();
        for (key, value) in header.split(',').filter_map(|item| item.trim().split_once('=')) {
            match key {
                "t" if timestamp.is_some() => return None,
                "t" => timestamp = Some(value),
                "v1" if signatures.len() < MAX_SIGNATURES => signatures.extend(hex::decode(value).ok()),
                _ => {}
            }
        }
        let timestamp = timestamp.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(Self { timestamp, seconds: timestamp.parse().ok()?, signatures })
    }
}

/// Describes an event, a snapshot or a thin one.
pub(super) fn describe(body: &[u8]) -> Result<SourceEvent, WebhookRejection> {
    let event = ProviderPayload::parse(body)?;
    let object = event.text("/data/object/id").or_else(|| event.text("/related_object/id"));
    // A field that is missing must not turn a test into real money.
    let live = event.get("/livemode").and_then(Value::as_bool).unwrap_or(false);
    let tenant = event.text(TENANT_METADATA).filter(|_| event.text("/account").is_none());
    Ok(source_event(event.text("/id").as_deref(), event.text("/type").as_deref())?
        .occurred_at(event.time("/created"))
        .environment(if live { DataEnvironment::Live } else { DataEnvironment::Test })
        .object(object.as_deref().map(bounded_id))
        .tenant(tenant.and_then(|tenant| tenant.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_one_time_and_any_number_of_signatures() {
        let parsed = |header| StripeSignature::parse(header).map(|parsed| (parsed.seconds, parsed.signatures));
        for (header, expected) in [
            ("t=1,v1=00ff", Some((1, vec![vec![0, 255]]))),
            ("t=1, v1=00 ,v1=0A,v0=ff,v2=ff,x", Some((1, vec![vec![0], vec![10]]))),
            ("v1=00,t=1", Some((1, vec![vec![0]]))),
            ("t=1,v0=00", Some((1, vec![]))),
            ("t=1,v1=0g", Some((1, vec![]))),
            ("t=1,t=2,v1=00", None),
            ("t=+1,v1=00", None),
            ("t=-1,v1=00", None),
            ("t=,v1=00", None),
            ("t=99999999999999999999,v1=00", None),
            ("v1=00", None),
            ("", None),
        ] {
            assert_eq!(parsed(header), expected, "{header}");
        }
        let many = format!("t=1{}", ",v1=00".repeat(100));
        assert_eq!(parsed(&many).unwrap().1.len(), MAX_SIGNATURES);
    }

    #[test]
    fn events_are_described() {
        let described = |body: &str| describe(body.as_bytes()).unwrap();
        let event = described(
            r#"{"id":"evt_1","object":"event","type":"invoice.paid","created":1893456000,"livemode":true,
                "data":{"object":{"id":"in_1","metadata":{"tenant_id":"0197a1b0-0000-7000-8000-000000000001"}}}}"#,
        );
        assert_eq!(
            (event.id.as_str(), event.kind.as_str(), event.object.as_deref()),
            ("evt_1", "invoice.paid", Some("in_1"))
        );
        assert_eq!(event.environment, DataEnvironment::Live);
        assert_eq!(event.occurred_at, "2030-01-01T00:00:00Z".parse().ok());
        assert_eq!(event.tenant.unwrap().to_string(), "0197a1b0-0000-7000-8000-000000000001");

        let event = described(
            r#"{"id":"evt_2","type":"account.updated","account":"acct_1","livemode":false,
                "data":{"object":{"metadata":{"tenant_id":"0197a1b0-0000-7000-8000-000000000001"}}}}"#,
        );
        assert_eq!((event.environment, event.object, event.tenant), (DataEnvironment::Test, None, None));

        let event = described(
            r#"{"id":"evt_3","object":"v2.core.event","type":"v1.billing.meter.error_report_triggered","livemode":true,
                "created":"2030-01-01T00:00:00.000Z","related_object":{"id":"mtr_1","type":"billing.meter","url":""}}"#,
        );
        assert_eq!((event.object.as_deref(), event.occurred_at), (Some("mtr_1"), "2030-01-01T00:00:00Z".parse().ok()));

        // Unknown forms are kept.
        assert_eq!(described(r#"{"id":"evt_4","type":"new","data":[1],"created":"soon"}"#).object, None);
        for body in ["", "[]", "{}", r#"{"id":"evt_5"}"#, r#"{"type":"a"}"#] {
            assert!(matches!(describe(body.as_bytes()), Err(WebhookRejection::Malformed(_))), "{body}");
        }
    }
}
