//! The contract of sources and handlers.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::WebhookRejection;
use crate::{
    BoxError,
    clock::Timestamp,
    data_environment::DataEnvironment,
    db::{self, Db, Tx},
    events::Delivery,
    identity::TenantId,
    jobs::JobError,
};

/// The request of a provider, as a [`WebhookSource`] verifies it.
#[derive(Clone, Copy, Debug)]
pub struct WebhookRequest<'a> {
    /// The URL that the provider called: `PUBLIC_URL`, the path and the query.
    pub url: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The raw body.
    pub body: &'a [u8],
    /// When the app received the request.
    pub now: Timestamp,
}

impl<'a> WebhookRequest<'a> {
    /// Returns the value of a header. Returns `None` if the header is absent, occurs twice, or is not ASCII.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Malformed`] if the body is not JSON of this form.
    pub fn json<T: Deserialize<'a>>(&self) -> Result<T, WebhookRejection> {
        serde_json::from_slice(self.body).map_err(|error| WebhookRejection::Malformed(error.to_string()))
    }
}

/// The event in a request, as its source describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceEvent {
    /// The id of the event, which is the same when the provider sends the event again. Two events of a source have
    /// different ids, also if they are about different tenants: the second one with an id counts as a repetition. At
    /// most [`MAX_ID_BYTES`](Self::MAX_ID_BYTES).
    pub id: String,
    /// The type, such as `invoice.paid`. At most [`MAX_KIND_BYTES`](Self::MAX_KIND_BYTES).
    pub kind: String,
    /// When the event occurred, if the provider states it.
    pub occurred_at: Option<Timestamp>,
    /// The environment. Default: [`DataEnvironment::Live`].
    pub environment: DataEnvironment,
    /// The object that the event is about, such as the id of a subscription. Events of one object are processed one
    /// after another. At most [`MAX_ID_BYTES`](Self::MAX_ID_BYTES).
    pub object: Option<String>,
    /// The tenant that the payload names.
    pub tenant: Option<TenantId>,
}

impl SourceEvent {
    /// Largest length of the id and of the object of an event, in bytes.
    pub const MAX_ID_BYTES: usize = 200;
    /// Largest length of the type of an event, in bytes.
    pub const MAX_KIND_BYTES: usize = 100;

    /// Creates the description of an event.
    pub fn new(id: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            kind: kind.into(),
            occurred_at: None,
            environment: DataEnvironment::Live,
            object: None,
            tenant: None,
        }
    }

    /// Sets when the event occurred.
    pub fn occurred_at(mut self, at: Option<Timestamp>) -> Self {
        self.occurred_at = at;
        self
    }

    /// Sets the environment.
    pub fn environment(mut self, environment: DataEnvironment) -> Self {
        self.environment = environment;
        self
    }

    /// Sets the object that the event is about. An empty text counts as none.
    pub fn object(mut self, object: Option<impl Into<String>>) -> Self {
        self.object = object.map(Into::into).filter(|object| !object.is_empty());
        self
    }

    /// Sets the tenant that the payload names.
    pub fn tenant(mut self, tenant: Option<TenantId>) -> Self {
        self.tenant = tenant;
        self
    }

    /// Verifies the lengths that this type documents, and that no text has a NUL.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Malformed`] if a text is too long, or the id or the type is empty.
    pub fn validate(&self) -> Result<(), WebhookRejection> {
        let object = self.object.as_deref().unwrap_or("-");
        for (what, text, limit) in [
            ("id", &*self.id, Self::MAX_ID_BYTES),
            ("type", &*self.kind, Self::MAX_KIND_BYTES),
            ("object", object, Self::MAX_ID_BYTES),
        ] {
            if text.is_empty() || text.len() > limit || text.contains('\0') {
                let message = format!("its {what} is empty, longer than {limit} bytes, or has a NUL");
                return Err(WebhookRejection::Malformed(message));
            }
        }
        Ok(())
    }
}

/// Webhooks that a provider could not deliver, and what became of them.
#[derive(Clone, Debug, Default)]
pub struct MissedWebhooks {
    /// The number of deliveries that the provider was asked to send again.
    pub redelivered: u64,
    /// The headers and bodies of events that the provider has returned instead. They count as verified.
    pub events: Vec<(HeaderMap, Bytes)>,
    /// Whether the period has more than could be handled at once. The next request then asks for the same period.
    pub has_more: bool,
}

/// A provider that calls the app by webhook: how its requests are verified and described.
#[doc(alias = "webhook")]
#[async_trait]
pub trait WebhookSource: Send + Sync + 'static {
    /// Verifies that the provider sent the request, and not long ago. An implementation compares signatures in constant
    /// time, and reads nothing but the raw bytes.
    ///
    /// # Errors
    /// Returns the reason why the request is rejected.
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection>;

    /// Returns whether [`verify`](Self::verify) makes a call with the credentials of an account, such as to a provider that
    /// verifies its requests itself. The inbox then limits requests that are not verified before they are, by the
    /// client and by the tenant.
    fn calls_provider_to_verify(&self) -> bool {
        false
    }

    /// Describes the event in a verified request. Unknown types and fields are accepted. It is called once, when the
    /// request is received: the description is stored with it, and used again when the event is replayed.
    ///
    /// # Errors
    /// Fails with [`WebhookRejection::Malformed`] if the body has no event.
    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection>;

    /// Returns the names of the headers that must not be stored, such as one with a secret in place of a signature.
    /// Headers whose names say that they have a credential, such as `Authorization` and `Cookie`, are never stored.
    fn secret_headers(&self) -> Vec<HeaderName> {
        Vec::new()
    }

    /// Returns the headers with which the provider would send this request, for tests. Returns `None` if only the
    /// provider has the key.
    fn sign(&self, _request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        None
    }

    /// Asks the provider for events since `since` that it could not deliver. Returns `None` if the provider can't be
    /// asked.
    ///
    /// # Errors
    /// Returns the error of the call to the provider.
    async fn missed(&self, _since: Timestamp) -> Result<Option<MissedWebhooks>, BoxError> {
        Ok(None)
    }

    /// Asks the provider for the current state of the object that a webhook is about, in the form of the provider's
    /// API. Returns `None` if the provider can't be asked, or no longer has the object.
    ///
    /// # Errors
    /// Returns the error of the call to the provider.
    async fn fetch_object(&self, _webhook: &InboundWebhook) -> Result<Option<Value>, BoxError> {
        Ok(None)
    }
}

/// A webhook that was received and verified.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InboundWebhook {
    /// The name of the source, such as `stripe`.
    pub source: String,
    /// The event.
    pub event: SourceEvent,
    /// The tenant: that of the path, or else the one that the payload names.
    pub tenant: Option<TenantId>,
    /// The URL that the provider called. If the webhook was stored, credentials in the query are replaced by
    /// `REDACTED`.
    pub url: String,
    /// The headers. If the webhook was stored, those with credentials are missing: see
    /// [`WebhookSource::secret_headers`].
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
    /// When the app received the webhook. The age of the signature was checked then.
    pub received_at: Timestamp,
}

impl InboundWebhook {
    /// Creates a webhook from what was received.
    pub fn new(
        source: impl Into<String>,
        event: SourceEvent,
        tenant: Option<TenantId>,
        request: &WebhookRequest<'_>,
    ) -> Self {
        Self {
            source: source.into(),
            tenant: tenant.or(event.tenant),
            event,
            url: request.url.to_owned(),
            headers: request.headers.clone(),
            body: Bytes::copy_from_slice(request.body),
            received_at: request.now,
        }
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// Fails, without further attempts, if the body is not JSON of this form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        serde_json::from_slice(&self.body).map_err(JobError::fatal)
    }
}

/// Whether a handler has processed an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WebhookOutcome {
    /// The event concerns nothing in this app.
    Ignored,
    /// The event was processed.
    Processed,
}

/// A handler of the webhooks of a source.
///
/// A handler may be called more than once for an event, also after it has succeeded, and in any order: an operator may
/// replay an event, and providers don't keep the order. Rows that it writes through [`WebhookTx`] are stored once for
/// each call that succeeds. Ask the provider for the current state of an object where the order matters.
///
/// Providers send tests to live apps too, such as purchases in Apple's sandbox. Before a handler grants something, it
/// checks that the `environment` of the event is [`DataEnvironment::Live`].
#[async_trait]
pub trait WebhookHandler: Send + Sync + 'static {
    /// Processes a webhook. If it returns `Ok`, the rows that were written through `tx` are committed.
    ///
    /// # Errors
    /// After an error the rows are rolled back, and the webhook is processed again later, unless the error is
    /// [fatal](JobError::fatal). After [`JobError::snooze`] the attempt is not counted.
    async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError>;
}

/// The transaction in which a webhook is processed. It begins at the first call of [`get`](Self::get), sees the rows
/// of the webhook's tenant, and commits after all handlers have succeeded.
///
/// Call providers before: on SQLite no other transaction can write while it is open.
pub struct WebhookTx<'a>(TxSource<'a>);

enum TxSource<'a> {
    /// The transaction that acknowledges a delivery.
    Delivery(&'a mut Delivery),
    Own {
        db: &'a Db,
        tenant: Option<TenantId>,
        tx: Option<Box<Tx>>,
    },
}

impl<'a> WebhookTx<'a> {
    /// Creates the transaction of a delivery, which is committed with it.
    pub fn of_delivery(delivery: &'a mut Delivery) -> Self {
        Self(TxSource::Delivery(delivery))
    }

    pub(super) fn begin_in(db: &'a Db, tenant: Option<TenantId>) -> Self {
        Self(TxSource::Own { db, tenant, tx: None })
    }

    /// Returns the transaction.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn get(&mut self) -> Result<&mut Tx, db::Error> {
        match &mut self.0 {
            TxSource::Delivery(delivery) => delivery.tx().await,
            TxSource::Own { db, tenant, tx } => match tx {
                Some(tx) => Ok(tx),
                None => Ok(tx.insert(Box::new(match tenant {
                    Some(tenant) => db.tenant(*tenant).begin().await?,
                    None => db.begin().await?,
                }))),
            },
        }
    }

    /// Commits a transaction of its own.
    pub(super) async fn commit(self) -> Result<(), db::Error> {
        match self.0 {
            TxSource::Own { tx: Some(tx), .. } => tx.commit().await,
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for WebhookTx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookTx")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_limits() {
        for (id, kind, object, is_valid) in [
            ("a".repeat(200), "b".repeat(100), Some("c".repeat(200)), true),
            ("a".into(), "b".into(), None, true),
            // An empty object counts as none.
            ("a".into(), "b".into(), Some(String::new()), true),
            (String::new(), "b".into(), None, false),
            ("a".into(), String::new(), None, false),
            ("a".repeat(201), "b".into(), None, false),
            ("a".into(), "b".repeat(101), None, false),
            ("a".into(), "b".into(), Some("c".repeat(201)), false),
            ("a\0".into(), "b".into(), None, false),
            ("a".into(), "\0b".into(), None, false),
            ("a".into(), "b".into(), Some("c\0".into()), false),
        ] {
            let event = SourceEvent::new(id, kind).object(object);
            assert_eq!(event.validate().is_ok(), is_valid, "{event:?}");
        }
    }
}
