//! GitHub: signed deliveries, and the redelivery of those that failed.
//!
//! Documentation: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.

mod app_token;
mod missed;

use std::borrow::Cow;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, header::CONTENT_TYPE};
use omnistack_core::{
    BoxError,
    clock::Timestamp,
    jobs::JobError,
    module::Registry,
    webhook::{InboundWebhook, MissedWebhooks, SourceEvent, WebhookRejection, WebhookRequest, WebhookSource},
};
use serde::de::DeserializeOwned;

use self::missed::GitHubDeliveries;
pub(super) use self::missed::next_cursor;
use super::{
    keys::SharedKeys,
    payload::{ProviderPayload, bounded_id, source_event},
    settings::GitHubWebhookSettings,
    sign::json_headers,
};

/// The header with the signature.
const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
/// The header with the id of the delivery, which is the same when it is sent again.
const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
/// The header with the name of the event.
const EVENT: HeaderName = HeaderName::from_static("x-github-event");

/// GitHub, as the source `github`.
///
/// The type is the name of the event and its action, such as `pull_request.opened`. The object is the repository, with
/// the number of the issue, pull request or discussion, such as `acme/shop#7`. GitHub signs the body only. So a request
/// that was captured can be sent again, with another id of the delivery and another name of the event.
struct GitHubSource {
    keys: SharedKeys,
    deliveries: Option<GitHubDeliveries>,
}

pub(super) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<GitHubWebhookSettings>() else { return };
    if settings.secrets.is_empty() && settings.hook.is_some() {
        let what = "`WEBHOOKS_GITHUB_HOOK` is set, and `WEBHOOKS_GITHUB_SECRETS` is not";
        registry.report_problem(what, "set WEBHOOKS_GITHUB_SECRETS to the secret of the webhook");
    }
    let keys = SharedKeys::from_setting(registry, "WEBHOOKS_GITHUB_SECRETS", &settings.secrets);
    let deliveries = GitHubDeliveries::from_settings(registry, &settings);
    if let Some(keys) = keys {
        registry.webhook_source("github", move |_| Ok(GitHubSource { keys, deliveries }));
    }
}

#[async_trait]
impl WebhookSource for GitHubSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let header = request.header(SIGNATURE.as_str());
        let header = header.ok_or(WebhookRejection::Unverified("the header `X-Hub-Signature-256` is missing"))?;
        let signature = parse_signature(header)
            .ok_or(WebhookRejection::Unverified("the header `X-Hub-Signature-256` is not `sha256=` and digits"))?;
        let signed = self.keys.verify(&[request.body], &[signature]);
        signed.then_some(()).ok_or(WebhookRejection::Unverified("no signature matches"))
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let (delivery, event) = (request.header(DELIVERY.as_str()), request.header(EVENT.as_str()));
        describe(delivery, event, &json_body(request.headers, request.body))
    }

    fn sign(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        let header = |name: HeaderName| request.header(name.as_str()).map(str::to_owned);
        let delivery = header(DELIVERY).unwrap_or_else(|| uuid::Uuid::from_u128(rand::random()).to_string());
        let signature = format!("sha256={}", self.keys.sign(&[request.body]).to_hex());
        let event = header(EVENT).unwrap_or_else(|| "ping".to_owned());
        json_headers([(SIGNATURE, signature), (DELIVERY, delivery), (EVENT, event)])
    }

    async fn missed(&self, since: Timestamp) -> Result<Option<MissedWebhooks>, BoxError> {
        match &self.deliveries {
            Some(deliveries) => deliveries.redeliver(since).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Parses the header `X-Hub-Signature-256`: `sha256=` and hexadecimal digits.
pub(super) fn parse_signature(header: &str) -> Option<Vec<u8>> {
    header.strip_prefix("sha256=").and_then(|digits| hex::decode(digits).ok())
}

/// Returns the JSON of a body: itself, or the field `payload` of a form, as the content type says.
pub(super) fn json_body<'a>(headers: &HeaderMap, body: &'a [u8]) -> Cow<'a, [u8]> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Cow::Borrowed(body);
    }
    let payload = form_urlencoded::parse(body).find(|(name, _)| name == "payload");
    payload.map_or(Cow::Borrowed([].as_slice()), |(_, payload)| Cow::Owned(payload.into_owned().into_bytes()))
}

/// Parses the JSON of a webhook of GitHub, also of one whose content type at GitHub is
/// `application/x-www-form-urlencoded`.
///
/// # Errors
/// Fails, without further attempts, if it is not JSON of this form.
pub fn github_payload<T: DeserializeOwned>(webhook: &InboundWebhook) -> Result<T, JobError> {
    serde_json::from_slice(&json_body(&webhook.headers, &webhook.body)).map_err(JobError::fatal)
}

/// Describes a delivery by its headers and its JSON.
pub(super) fn describe(
    delivery: Option<&str>,
    event: Option<&str>,
    json: &[u8],
) -> Result<SourceEvent, WebhookRejection> {
    let payload = ProviderPayload::parse(json)?;
    let action = payload.get("/action").and_then(serde_json::Value::as_str);
    let kind = event.map(|event| match action {
        Some(action) => format!("{event}.{action}"),
        None => event.to_owned(),
    });
    let number = ["/number", "/pull_request/number", "/issue/number", "/discussion/number"];
    let number = number.iter().find_map(|pointer| payload.text(pointer));
    let object = match (payload.text("/repository/full_name"), number) {
        (Some(repository), Some(number)) => Some(format!("{repository}#{number}")),
        (Some(repository), None) => Some(repository),
        (None, _) => payload.text("/organization/login"),
    };
    Ok(source_event(delivery, kind.as_deref())?.object(object.as_deref().map(bounded_id)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn signatures_have_one_form() {
        for (header, expected) in [
            ("sha256=00FF", Some(vec![0, 255])),
            ("sha1=00", None),
            ("00", None),
            ("sha256=0", None),
            ("sha256=é", None),
        ] {
            assert_eq!(parse_signature(header), expected, "{header}");
        }
    }

    #[test]
    fn deliveries_are_described() {
        for (event, body, kind, object) in [
            (
                "pull_request",
                r#"{"action":"opened","number":7,"repository":{"full_name":"acme/shop"}}"#,
                "pull_request.opened",
                Some("acme/shop#7"),
            ),
            (
                "issue_comment",
                r#"{"action":"created","issue":{"number":8},"repository":{"full_name":"acme/shop"}}"#,
                "issue_comment.created",
                Some("acme/shop#8"),
            ),
            ("push", r#"{"ref":"refs/heads/main","repository":{"full_name":"acme/shop"}}"#, "push", Some("acme/shop")),
            ("member", r#"{"action":{},"organization":{"login":"acme"}}"#, "member", Some("acme")),
            ("ping", r#"{"zen":"…"}"#, "ping", None),
        ] {
            let described = describe(Some("d-1"), Some(event), body.as_bytes()).unwrap();
            assert_eq!((described.kind.as_str(), described.object.as_deref()), (kind, object), "{body}");
        }
        for (delivery, event) in [(None, Some("push")), (Some("d-1"), None)] {
            assert!(matches!(describe(delivery, event, b"{}"), Err(WebhookRejection::Malformed(_))));
        }
    }

    #[test]
    fn forms_have_their_json_in_a_field() {
        let mut headers = HeaderMap::new();
        assert_eq!(json_body(&headers, b"{}").as_ref(), b"{}");
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        headers.insert(CONTENT_TYPE, form);
        assert_eq!(json_body(&headers, b"a=1&payload=%7B%22a%22%3A+1%7D").as_ref(), br#"{"a": 1}"#);
        assert_eq!(json_body(&headers, b"{}").as_ref(), b"");
    }
}
