//! Supabase's database webhooks, which are not signed.
//!
//! Documentation: <https://supabase.com/docs/guides/database/webhooks>.

use async_trait::async_trait;
use http::{HeaderMap, HeaderName};
use omnistack_core::{
    crypto::constant_time_eq,
    module::Registry,
    webhook::{SourceEvent, WebhookRejection, WebhookRequest, WebhookSource},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    payload::{ProviderPayload, body_id, bounded_id, source_event},
    settings::SupabaseDatabaseWebhookSettings,
    sign::json_headers,
};

/// Least length of the secret in the header, in bytes.
const MIN_SECRET_BYTES: usize = 16;
/// The header in which a trigger of one's own can send an id of the change.
const EVENT_ID: HeaderName = HeaderName::from_static("x-webhook-id");

/// The source `supabase-database`.
///
/// A request is not signed: any sender that knows the secret in the header can send any change. It has no id either. The
/// id is the header `x-webhook-id`, which a trigger of one's own can set, or else the hash of the body. Two changes
/// with the same body then count as one: for example, a value that changes from 1 to 2, back, and to 2 again. A column
/// with the time of the last update makes all bodies different. Supabase does not repeat a request that failed.
struct SupabaseDatabaseSource {
    header: HeaderName,
    secrets: Vec<SecretString>,
}

pub(super) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<SupabaseDatabaseWebhookSettings>() else { return };
    let secrets = settings.secrets.as_slice().to_vec();
    if secrets.iter().any(|secret| secret.expose_secret().len() < MIN_SECRET_BYTES) {
        let what = "`WEBHOOKS_SUPABASE_DATABASE_SECRETS` has a secret of less than 16 characters, which can be guessed";
        registry.report_problem(what, "set it to the output of `openssl rand -hex 32`, and send that in the header");
        return;
    }
    if !secrets.is_empty() {
        let source = SupabaseDatabaseSource { header: settings.header, secrets };
        registry.webhook_source("supabase-database", move |_| Ok(source));
    }
}

#[async_trait]
impl WebhookSource for SupabaseDatabaseSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let given = request.header(self.header.as_str());
        let given = given.ok_or(WebhookRejection::Unverified("the header with the secret is missing"))?;
        // All secrets are compared, so that the duration doesn't reveal which one is right.
        let known =
            self.secrets.iter().fold(false, |found, secret| constant_time_eq(secret.expose_secret(), given) | found);
        known.then_some(()).ok_or(WebhookRejection::Unverified("the header has another secret"))
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        describe(request.header(EVENT_ID.as_str()), request.body)
    }

    fn secret_headers(&self) -> Vec<HeaderName> {
        vec![self.header.clone()]
    }

    fn sign(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        let secret = self.secrets.first()?.expose_secret().to_owned();
        let id = request.header(EVENT_ID.as_str()).map(|id| (EVENT_ID, id.to_owned()));
        json_headers([(self.header.clone(), secret)].into_iter().chain(id))
    }
}

/// Describes a change of a row. Its type is schema, table and operation, such as `public.orders.insert`.
pub(super) fn describe(id: Option<&str>, body: &[u8]) -> Result<SourceEvent, WebhookRejection> {
    let change = ProviderPayload::parse(body)?;
    let table = change.text("/table").map(|table| match change.text("/schema") {
        Some(schema) => format!("{schema}.{table}"),
        None => table,
    });
    let row = change.text("/record/id").or_else(|| change.text("/old_record/id"));
    let object = table.as_deref().zip(row).map(|(table, row)| format!("{table}:{row}"));
    let kind = table.zip(change.text("/type")).map(|(table, kind)| format!("{table}.{}", kind.to_lowercase()));
    let id = id.map_or_else(|| body_id(body), str::to_owned);
    Ok(source_event(Some(&id), kind.as_deref())?.object(object.as_deref().map(bounded_id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_described() {
        let insert = br#"{"type":"INSERT","table":"orders","schema":"public","record":{"id":7},"old_record":null}"#;
        let event = describe(None, insert).unwrap();
        assert_eq!((event.kind.as_str(), event.object.as_deref()), ("public.orders.insert", Some("public.orders:7")));
        assert_eq!(event.id, describe(None, insert).unwrap().id);
        assert_eq!(describe(Some("tx-1"), insert).unwrap().id, "tx-1");
        let delete = br#"{"type":"DELETE","table":"orders","schema":"public","record":null,"old_record":{"id":"a"}}"#;
        let event = describe(None, delete).unwrap();
        assert_eq!((event.kind.as_str(), event.object.as_deref()), ("public.orders.delete", Some("public.orders:a")));
        assert!(matches!(describe(None, br#"{"type":"INSERT"}"#), Err(WebhookRejection::Malformed(_))));
    }
}
