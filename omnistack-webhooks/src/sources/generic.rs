//! A source for any sender that signs with HMAC, set up by settings or in code.

mod algorithm;
mod register;
mod template;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName};
use omnistack_core::{
    crypto::constant_time_eq,
    webhook::{SourceEvent, WebhookRejection, WebhookRequest, WebhookSource, is_recent},
};
use secrecy::{ExposeSecret as _, SecretString};

pub use self::algorithm::{HmacAlgorithm, SignatureEncoding};
pub(super) use self::register::register;
pub(super) use self::template::SignedTemplate;
use self::{algorithm::GenericKey, template::TemplateValues};
use super::{
    keys::MAX_SIGNATURES,
    payload::{ProviderPayload, body_id, bounded_id, from_epoch, source_event},
    sign::{json_headers, new_id},
};

/// The reason why a [`GenericSource`] can't be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenericSourceError {
    /// There is no secret, or one of them is empty.
    #[error("a secret is missing or empty")]
    EmptySecret,
    /// The template of the signed text is not valid. The text says why.
    #[error("the template of the signed text is not valid: {0}")]
    Template(&'static str),
}

/// A source whose requests are signed with HMAC. Register it with
/// [`Registry::webhook_source`](omnistack_core::module::Registry::webhook_source):
///
/// ```
/// use omnistack_core::{http::HeaderName, module::{Module, Registry}};
/// use omnistack_webhooks::{GenericSource, HmacAlgorithm};
///
/// struct Courier(GenericSource);
///
/// impl Module for Courier {
///     fn name(&self) -> &'static str {
///         "courier"
///     }
///
///     fn register(&self, registry: &mut Registry) {
///         let source = self.0.clone();
///         registry.webhook_source("courier", move |_| Ok(source));
///     }
/// }
///
/// let source = GenericSource::new(HeaderName::from_static("x-courier-signature"), ["a long secret".into()])?
///     .algorithm(HmacAlgorithm::Sha512)
///     .timestamp_header(HeaderName::from_static("x-courier-time"))
///     .id_path("delivery.id")
///     .kind_path("event");
/// let courier = Courier(source);
/// # Ok::<_, omnistack_webhooks::GenericSourceError>(())
/// ```
///
/// By default the signature is HMAC-SHA-256 of the body in hexadecimal, the id is the hash of the body, and the type is
/// the field `type`. A header may have several signatures, separated by commas.
///
/// An attacker who has captured a request can change what is not signed: all headers except those in the template.
/// Without a signed time, the attacker can send the request again at any time. Then only the id shows that it is a
/// repetition, if it comes from the body or is in the template.
#[derive(Clone, Debug)]
#[must_use]
pub struct GenericSource {
    secrets: Vec<SecretString>,
    header: HeaderName,
    algorithm: HmacAlgorithm,
    encoding: SignatureEncoding,
    prefix: String,
    timestamp_header: Option<HeaderName>,
    template: Option<SignedTemplate>,
    id_header: Option<HeaderName>,
    id_path: Option<String>,
    kind_header: Option<HeaderName>,
    kind_path: String,
    object_path: Option<String>,
    time_path: Option<String>,
    tenant_path: Option<String>,
}

impl GenericSource {
    /// Creates a source with the header of the signature, and the secrets: the one that signs, then those that are
    /// being replaced.
    ///
    /// # Errors
    /// Fails if there is no secret, or if one of them is empty.
    pub fn new(
        header: HeaderName,
        secrets: impl IntoIterator<Item = SecretString>,
    ) -> Result<Self, GenericSourceError> {
        let secrets: Vec<SecretString> = secrets.into_iter().collect();
        if secrets.is_empty() || secrets.iter().any(|secret| secret.expose_secret().is_empty()) {
            return Err(GenericSourceError::EmptySecret);
        }
        Ok(Self {
            secrets,
            header,
            algorithm: HmacAlgorithm::Sha256,
            encoding: SignatureEncoding::Hex,
            prefix: String::new(),
            timestamp_header: None,
            template: None,
            id_header: None,
            id_path: None,
            kind_header: None,
            kind_path: pointer("type"),
            object_path: None,
            time_path: None,
            tenant_path: None,
        })
    }

    /// Sets the hash function.
    pub fn algorithm(mut self, algorithm: HmacAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets the encoding of the signature.
    pub fn encoding(mut self, encoding: SignatureEncoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Sets the text before a signature, such as `sha256=`. It can't contain a comma.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the header with the signed time, in seconds or milliseconds since 1970. It may differ from the clock by at
    /// most five minutes. The signed text is then `{timestamp}.{body}`, unless a template is set afterwards.
    pub fn timestamp_header(mut self, header: HeaderName) -> Self {
        self.timestamp_header = Some(header);
        // A template that was set before may not have the time, which would then be unsigned.
        self.template = None;
        self
    }

    /// Sets the signed text: text with the parts `{timestamp}`, `{id}` and `{body}`, such as `v1:{timestamp}:{body}`.
    /// Set the headers of the time and the id before.
    ///
    /// # Errors
    /// Fails if the body is not in the text exactly once, if the time has a header and is not in the text, or if the
    /// text has a part whose header is not set.
    pub fn template(mut self, template: &str) -> Result<Self, GenericSourceError> {
        let parsed = SignedTemplate::parse(template).map_err(GenericSourceError::Template)?;
        let has = (self.timestamp_header.is_some(), self.id_header.is_some());
        parsed.check(has.0, has.1).map_err(GenericSourceError::Template)?;
        self.template = Some(parsed);
        Ok(self)
    }

    /// Sets the header with the id of the event, which is read if the body has none. It is signed only if the template
    /// has `{id}`.
    pub fn id_header(mut self, header: HeaderName) -> Self {
        self.id_header = Some(header);
        self
    }

    /// Sets the path of the event's id in the JSON body, such as `data.id`.
    pub fn id_path(mut self, path: &str) -> Self {
        self.id_path = Some(pointer(path));
        self
    }

    /// Sets the header with the type of the event, which is not signed. Prefer a path in the body.
    pub fn kind_header(mut self, header: HeaderName) -> Self {
        self.kind_header = Some(header);
        self
    }

    /// Sets the path of the event's type in the JSON body. Default: `type`.
    pub fn kind_path(mut self, path: &str) -> Self {
        self.kind_path = pointer(path);
        self
    }

    /// Sets the path of the id of the object that the event is about.
    pub fn object_path(mut self, path: &str) -> Self {
        self.object_path = Some(pointer(path));
        self
    }

    /// Sets the path of the time of the event: RFC 3339, or seconds or milliseconds since 1970.
    pub fn time_path(mut self, path: &str) -> Self {
        self.time_path = Some(pointer(path));
        self
    }

    /// Sets the path of the tenant's id. Set it only if the sender decides which tenant an event is for.
    pub fn tenant_path(mut self, path: &str) -> Self {
        self.tenant_path = Some(pointer(path));
        self
    }

    /// Returns the signed text as parts.
    fn signed<'a>(&'a self, values: &TemplateValues<'a>) -> Vec<&'a [u8]> {
        match &self.template {
            Some(template) => template.parts(values),
            None if self.timestamp_header.is_some() => vec![values.timestamp.as_bytes(), b".", values.body],
            None => vec![values.body],
        }
    }

    fn mac(&self, secret: &SecretString, parts: &[&[u8]]) -> Vec<u8> {
        GenericKey { algorithm: self.algorithm, secret: secret.expose_secret().as_bytes() }.sign(parts)
    }

    /// Returns the signatures in a header.
    fn signatures(&self, header: &str) -> Vec<Vec<u8>> {
        let listed = header.split(',').take(MAX_SIGNATURES).map(str::trim);
        let ours = listed.filter_map(|one| one.strip_prefix(self.prefix.as_str()));
        ours.filter_map(|one| self.encoding.decode(one)).collect()
    }
}

/// Returns the JSON pointer for a path with dots.
fn pointer(path: &str) -> String {
    let escaped = path.replace('~', "~0").replace('/', "~1");
    escaped.split('.').flat_map(|field| ["/", field]).collect()
}

#[async_trait]
impl WebhookSource for GenericSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let header = request.header(self.header.as_str());
        let header = header.ok_or(WebhookRejection::Unverified("the header with the signature is missing"))?;
        let signed_header = |name: Option<&HeaderName>| match name {
            Some(name) => {
                request.header(name.as_str()).ok_or(WebhookRejection::Unverified("a signed header is missing"))
            }
            None => Ok(""),
        };
        let timestamp = signed_header(self.timestamp_header.as_ref())?;
        let has_id = self.template.as_ref().is_some_and(SignedTemplate::has_id);
        let id = signed_header(self.id_header.as_ref().filter(|_| has_id))?;
        let given = self.signatures(header);
        let signed = self.signed(&TemplateValues { timestamp, id, body: request.body });
        // All signatures are compared, so that the duration doesn't reveal which one is right.
        let known = self.secrets.iter().fold(false, |found, secret| {
            let expected = self.mac(secret, &signed);
            given.iter().fold(false, |found, given| constant_time_eq(&expected, given) | found) | found
        });
        if !known {
            return Err(WebhookRejection::Unverified("no signature matches"));
        }
        if self.timestamp_header.is_none() {
            return Ok(());
        }
        let digits = timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let at = timestamp.parse::<i64>().ok().filter(|_| digits).map(from_epoch);
        let at = at.ok_or(WebhookRejection::Unverified("the timestamp is not a number"))?;
        let recent = is_recent(at.as_seconds(), request.now);
        recent.then_some(()).ok_or(WebhookRejection::Unverified("the timestamp is more than five minutes from now"))
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let event = ProviderPayload::parse(request.body)?;
        let header = |name: Option<&HeaderName>| request.header(name?.as_str()).map(str::to_owned);
        let text = |path: Option<&String>| event.text(path?);
        let id = match (&self.id_header, &self.id_path) {
            (None, None) => Some(body_id(request.body)),
            // The body is always signed.
            _ => text(self.id_path.as_ref()).or_else(|| header(self.id_header.as_ref())),
        };
        let kind = header(self.kind_header.as_ref()).or_else(|| event.text(&self.kind_path));
        Ok(source_event(id.as_deref(), kind.as_deref())?
            .occurred_at(self.time_path.as_deref().and_then(|path| event.time(path)))
            .object(text(self.object_path.as_ref()).as_deref().map(bounded_id))
            .tenant(text(self.tenant_path.as_ref()).and_then(|tenant| tenant.parse().ok())))
    }

    fn secret_headers(&self) -> Vec<HeaderName> {
        // Without a signed time, the signature and the body are all that is needed to send the request again.
        vec![self.header.clone()]
    }

    fn sign(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        let given = |name: &HeaderName| request.header(name.as_str()).map(str::to_owned);
        let timestamp = request.now.as_seconds().to_string();
        let id = self.id_header.as_ref().map(|name| given(name).unwrap_or_else(new_id)).unwrap_or_default();
        let values = TemplateValues { timestamp: &timestamp, id: &id, body: request.body };
        let signature = self.encoding.encode(&self.mac(self.secrets.first()?, &self.signed(&values)));
        let kind = self.kind_header.as_ref().and_then(|name| Some((name.clone(), given(name)?)));
        let mut headers = vec![(self.header.clone(), format!("{}{signature}", self.prefix))];
        headers.extend(self.timestamp_header.clone().map(|name| (name, timestamp.clone())));
        headers.extend(self.id_header.clone().map(|name| (name, id.clone())));
        headers.extend(kind);
        json_headers(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_pointers() {
        for (path, expected) in [("id", "/id"), ("data.0.id", "/data/0/id"), ("a/b.c~d", "/a~1b/c~0d")] {
            assert_eq!(pointer(path), expected);
        }
    }

    #[test]
    fn a_secret_is_not_empty() {
        let header = HeaderName::from_static("x-signature");
        for secrets in [vec![], vec!["".into()], vec!["a".into(), "".into()]] {
            assert_eq!(GenericSource::new(header.clone(), secrets).unwrap_err(), GenericSourceError::EmptySecret);
        }
    }

    #[test]
    fn templates_name_what_is_there() {
        let source = || GenericSource::new(HeaderName::from_static("x-signature"), ["secret".into()]).unwrap();
        let timed = || source().timestamp_header(HeaderName::from_static("x-time"));
        assert!(source().template("v0:{body}").is_ok());
        assert!(timed().template("{timestamp}{body}").is_ok());
        assert!(timed().id_header(HeaderName::from_static("x-id")).template("{id}.{timestamp}.{body}").is_ok());
        for wrong in [
            source().template("{timestamp}.{body}"),
            source().template("{id}.{body}"),
            timed().template("{body}"),
            source().template(""),
            source().template("{body}{body}"),
            source().template("{other}{body}"),
            source().template("{body"),
        ] {
            assert!(matches!(wrong.unwrap_err(), GenericSourceError::Template(_)));
        }
    }
}
