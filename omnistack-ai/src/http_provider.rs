//! Providers over HTTP.
//!
//! A call makes one request. It ends when its future or its stream is dropped: over HTTP/2 the stream is reset, over
//! HTTP/1.1 the connection is closed, and the provider stops generating.
//!
//! # Time limits
//!
//! | limit | begins | applies until |
//! |---|---|---|
//! | first byte | with the call | the first event of a stream, or the headers of a whole answer |
//! | idle | with each read | the next bytes |
//! | total | with the call | the end of the answer |
//!
//! A whole answer is generated before its first byte is sent, so its first-byte limit is longer, by
//! [`WHOLE_ANSWER_FACTOR`]. Comments in a stream, by which some providers keep the connection open, do not count as the
//! first event.

mod address;
mod clients;
mod deadlines;
mod embedded_error;
mod events;
mod exchange;
mod family;
mod model_list;

use std::{
    borrow::Cow,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use omnistack_core::{
    clock::Clock,
    http::client::{Client, ClientSettings},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::{
    chat::{CallTimeouts, ChatRequest, ChatResponse, ChatStream, events_of},
    embedding::{EmbeddingRequest, Embeddings},
    error::{LlmError, LlmErrorKind},
    provider::{Call, LlmProvider, ModelCapabilities, ProviderModel},
    wire::{WireRequest, stated_rate_limits},
};

use clients::ClientPool;
use deadlines::CallDeadlines;
use embedded_error::embedded_status;
use events::EventReader;
use exchange::{Exchange, request_id};
use family::{ANTHROPIC_VERSION, FamilyCodecs, ProviderFamily};

pub(crate) use address::check_base_url;

/// Maximum size of a whole answer.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Maximum size of a response with embeddings: 2,048 vectors of 3,072 numbers in decimal text are 80 MiB.
const MAX_EMBEDDINGS_BYTES: usize = 128 * 1024 * 1024;

/// Maximum size of a list of models.
const MAX_MODEL_LIST_BYTES: usize = 4 * 1024 * 1024;

/// The time limit of a list of models.
const MODEL_LIST_TIMEOUT: Duration = Duration::from_secs(15);

/// The factor by which the first-byte limit is longer for answers that arrive as a whole.
const WHOLE_ANSWER_FACTOR: u32 = 5;

/// The option by which OpenAI's API sends the usage in streams. Not all APIs of its form accept it.
const STREAM_OPTIONS: &str = "stream_options";

/// A provider over HTTP: OpenAI, Anthropic, Gemini, Groq, Azure, or any API in the form of OpenAI's, such as Ollama and
/// vLLM.
///
/// ```no_run
/// use omnistack_ai::HttpProvider;
/// use omnistack_core::http::client::Client;
///
/// # fn providers(client: Client) {
/// let openai = HttpProvider::openai(client.clone(), "sk-…".to_owned().into());
/// let ollama = HttpProvider::compatible(client, "ollama", "http://localhost:11434/v1");
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct HttpProvider {
    name: Cow<'static, str>,
    account: Option<String>,
    family: ProviderFamily,
    uses_responses: bool,
    codecs: FamilyCodecs,
    base_url: String,
    /// The header with the key. An error if the key can't be sent.
    key: Result<Option<(HeaderName, HeaderValue)>, InvalidKey>,
    clients: ClientPool,
    clock: Clock,
    /// Whether the provider has refused [`STREAM_OPTIONS`].
    refuses_stream_options: AtomicBool,
}

/// The error of a key with characters that no header can have.
#[derive(Clone, Copy, Debug)]
struct InvalidKey;

/// A response whose status is an error, or whose body is one.
struct FailedResponse {
    error: LlmError,
    body: Bytes,
}

impl HttpProvider {
    /// Creates the provider `openai`.
    pub fn openai(client: Client, key: SecretString) -> Self {
        Self::new(client, "openai", ProviderFamily::OpenAi).with_key(&key)
    }

    /// Creates the provider `anthropic`.
    pub fn anthropic(client: Client, key: SecretString) -> Self {
        Self::new(client, "anthropic", ProviderFamily::Anthropic).with_key(&key)
    }

    /// Creates the provider `gemini`.
    pub fn gemini(client: Client, key: SecretString) -> Self {
        Self::new(client, "gemini", ProviderFamily::Gemini).with_key(&key)
    }

    /// Creates the provider `groq`.
    pub fn groq(client: Client, key: SecretString) -> Self {
        Self::new(client, "groq", ProviderFamily::Groq).with_key(&key)
    }

    /// Creates a provider whose API has the form of OpenAI's chat completions. The base URL contains the version: for
    /// Ollama, it is `http://localhost:11434/v1`.
    pub fn compatible(client: Client, name: impl Into<Cow<'static, str>>, base_url: impl Into<String>) -> Self {
        Self::new(client, name, ProviderFamily::Compatible).with_base_url(base_url)
    }

    /// Creates the provider `azure`: OpenAI's models at an endpoint such as `https://NAME.openai.azure.com`. Models are
    /// the names of deployments. Without a version, the provider uses the path `/openai/v1`, which needs none.
    pub fn azure(client: Client, endpoint: impl Into<String>, key: SecretString, api_version: Option<String>) -> Self {
        Self::new(client, "azure", ProviderFamily::Azure { api_version }).with_base_url(endpoint).with_key(&key)
    }

    /// Sets the name, so that an app can have several accounts at a provider.
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self.codecs = self.family.codecs(self.name.clone(), self.uses_responses);
        self
    }

    /// Sets the base URL. For Anthropic and Gemini, the version of the API may be missing.
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sets the account, whose rate limit counts. Default: the name.
    pub fn with_account(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Sets the key.
    pub fn with_key(mut self, key: &SecretString) -> Self {
        let (name, prefix) = self.family.key_header();
        // Keys that are read from files end with a line break.
        let value = HeaderValue::from_str(&format!("{prefix}{}", key.expose_secret().trim()));
        self.key = value.map_err(|_| InvalidKey).map(|mut value| {
            value.set_sensitive(true);
            Some((name, value))
        });
        self
    }

    /// Sets the clock, by which dates in `Retry-After` are read. Default: the system clock.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the settings of further HTTP clients, by which the provider gets a connection for each 100 calls at a time.
    /// Without them, an HTTP/2 server that accepts 100 streams on a connection lets the 101st call wait.
    pub fn with_client_settings(mut self, settings: ClientSettings) -> Self {
        self.clients.set_settings(settings);
        self
    }

    /// Answers by OpenAI's Responses API. It has no effect on Anthropic and Gemini.
    pub fn responses(mut self) -> Self {
        self.uses_responses = true;
        self.codecs = self.family.codecs(self.name.clone(), true);
        self
    }

    fn new(client: Client, name: impl Into<Cow<'static, str>>, family: ProviderFamily) -> Self {
        let name = name.into();
        Self {
            account: None,
            uses_responses: false,
            codecs: family.codecs(name.clone(), false),
            base_url: family.default_base().to_owned(),
            key: Ok(None),
            clients: ClientPool::new(client),
            clock: Clock::system(),
            refuses_stream_options: AtomicBool::new(false),
            name,
            family,
        }
    }

    /// Sends a request, and returns the response whatever its status is.
    async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
        headers: HeaderMap,
        deadlines: CallDeadlines,
    ) -> Result<Exchange, LlmError> {
        let lease = self.clients.lease();
        let mut request = lease.client().request(method, url).headers(headers);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let exchange = Exchange::send(self.name.clone(), lease, request, deadlines).await?;
        if exchange.is_http2() {
            self.clients.note_http2();
        }
        Ok(exchange)
    }

    /// Posts a request about a model.
    async fn post(
        &self,
        model: &str,
        wire: &WireRequest,
        accept: &'static str,
        call: &Call,
        deadlines: CallDeadlines,
    ) -> Result<Exchange, LlmError> {
        let url = address::url(&self.family, &self.base_url, model, &wire.path);
        let exchange = self.send(Method::POST, &url, Some(&wire.body), self.headers(accept, call)?, deadlines).await?;
        if let Some(levels) = stated_rate_limits(exchange.headers(), self.clock.now()) {
            call.report_rate_limits(levels);
        }
        Ok(exchange)
    }

    fn headers(&self, accept: &'static str, call: &Call) -> Result<HeaderMap, LlmError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        match &self.key {
            Ok(Some((name, value))) => {
                headers.insert(name.clone(), value.clone());
            }
            Ok(None) => {}
            Err(InvalidKey) => {
                let message = "the key contains characters that no key has; correct it in the settings";
                return Err(self.error(LlmErrorKind::Unauthorized, message));
            }
        }
        if self.family == ProviderFamily::Anthropic {
            let (name, version) = ANTHROPIC_VERSION;
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(version));
        }
        let id = call.request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok());
        if let (Some(name), Some(id)) = (self.family.request_id_header(), id) {
            headers.insert(name, id);
        }
        Ok(headers)
    }

    /// Reads the response of a request that failed.
    async fn failed(&self, exchange: Exchange) -> FailedResponse {
        let (status, headers) = (exchange.status(), exchange.headers().clone());
        let body = exchange.read_error().await;
        FailedResponse { error: self.decode_error(status, &headers, &body), body }
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> LlmError {
        let mut error = self.codecs.chat.decode_error(status, headers, body, self.clock.now());
        error.status = error.status.or(Some(status.as_u16()));
        error.request_id = error.request_id.or_else(|| request_id(headers));
        error
    }

    /// Decodes a whole answer. An error with a status of success is an error.
    fn decode(&self, headers: &HeaderMap, body: &[u8]) -> Result<ChatResponse, LlmError> {
        let decoded = self.codecs.chat.decode(body);
        if decoded.as_ref().is_ok_and(|response| !response.parts.is_empty()) {
            return decoded;
        }
        match embedded_status(body) {
            Some(status) => Err(self.decode_error(status, headers, body)),
            None => decoded.map_err(|mut error| {
                error.request_id = error.request_id.or_else(|| request_id(headers));
                error
            }),
        }
    }

    /// Posts a request for a stream. If the provider refuses [`STREAM_OPTIONS`], the request is repeated once without
    /// them, and later requests do not contain them: their tokens are estimated.
    async fn post_stream(
        &self,
        request: &ChatRequest,
        wire: &mut WireRequest,
        call: &Call,
        deadlines: CallDeadlines,
    ) -> Result<Exchange, LlmError> {
        if self.refuses_stream_options.load(Ordering::Relaxed) {
            remove_stream_options(wire);
        }
        let exchange = self.post(&request.model, wire, "text/event-stream", call, deadlines).await?;
        if exchange.status().is_success() {
            return Ok(exchange);
        }
        let failed = self.failed(exchange).await;
        if !is_about_stream_options(&failed) || !remove_stream_options(wire) {
            return Err(failed.error);
        }
        let exchange = self.post(&request.model, wire, "text/event-stream", call, deadlines).await?;
        if !exchange.status().is_success() {
            return Err(self.failed(exchange).await.error);
        }
        // Options of a caller may be refused for another reason, which says nothing about other requests.
        if !request.extra.contains_key(STREAM_OPTIONS) && !self.refuses_stream_options.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                provider = %self.name,
                "the provider does not accept stream_options; tokens of its streams are estimated"
            );
        }
        Ok(exchange)
    }

    fn check_model(&self, model: &str) -> Result<(), LlmError> {
        if address::is_model_name(model) {
            Ok(())
        } else {
            Err(self.error(LlmErrorKind::UnknownModel, "the name of the model has characters that no model has"))
        }
    }

    fn error(&self, kind: LlmErrorKind, message: impl Into<String>) -> LlmError {
        LlmError::new(kind, self.name.clone(), message)
    }
}

#[async_trait]
impl LlmProvider for HttpProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.name)
    }

    fn capabilities(&self, _: &str) -> ModelCapabilities {
        ModelCapabilities { embeddings: self.family.has_embeddings(), ..ModelCapabilities::default() }
    }

    fn accepts_media_urls(&self) -> bool {
        self.codecs.chat.accepts_media_urls()
    }

    async fn complete(&self, request: &ChatRequest, call: &Call) -> Result<ChatResponse, LlmError> {
        self.check_model(&request.model)?;
        let deadlines = CallDeadlines::start(&for_whole_answer(&call.timeouts));
        let wire = self.codecs.chat.encode(request, false)?;
        let mut exchange = self.post(&request.model, &wire, "application/json", call, deadlines).await?;
        if !exchange.status().is_success() {
            return Err(self.failed(exchange).await.error);
        }
        let headers = exchange.take_headers();
        let body = exchange.read(MAX_ANSWER_BYTES).await?;
        let mut response = self.decode(&headers, &body)?;
        response.warnings.extend(wire.warnings);
        Ok(response)
    }

    async fn stream(&self, request: &ChatRequest, call: &Call) -> Result<ChatStream, LlmError> {
        self.check_model(&request.model)?;
        let deadlines = CallDeadlines::start(&call.timeouts);
        let mut wire = self.codecs.chat.encode(request, true)?;
        let mut exchange = self.post_stream(request, &mut wire, call, deadlines).await?;
        let is_json = exchange.is_json();
        let headers = exchange.take_headers();
        if is_json {
            // An error, or an API that has no streams.
            let body = exchange.read(MAX_ANSWER_BYTES).await?;
            let mut response = self.decode(&headers, &body)?;
            response.warnings.extend(wire.warnings);
            return Ok(stream::iter(events_of(&response, |text| vec![text])).map(Ok).boxed());
        }
        let reader = EventReader::new(self.name.clone(), deadlines, exchange.into_bytes(), self.codecs.chat.decoder());
        Ok(reader.request_id(request_id(&headers)).warnings(wire.warnings).into_stream())
    }

    async fn embed(&self, request: &EmbeddingRequest, call: &Call) -> Result<Embeddings, LlmError> {
        self.check_model(&request.model)?;
        let deadlines = CallDeadlines::start(&for_whole_answer(&call.timeouts));
        let codec = &self.codecs.embeddings;
        let wire = codec.encode_embeddings(request)?;
        let mut exchange = self.post(&request.model, &wire, "application/json", call, deadlines).await?;
        if !exchange.status().is_success() {
            return Err(self.failed(exchange).await.error);
        }
        let headers = exchange.take_headers();
        let body = exchange.read(MAX_EMBEDDINGS_BYTES).await?;
        codec.decode_embeddings(request, &body).map_err(|error| match embedded_status(&body) {
            Some(status) => self.decode_error(status, &headers, &body),
            None => error,
        })
    }

    async fn models(&self) -> Result<Vec<ProviderModel>, LlmError> {
        let timeouts =
            CallTimeouts { first_byte: MODEL_LIST_TIMEOUT, idle: MODEL_LIST_TIMEOUT, total: MODEL_LIST_TIMEOUT };
        let deadlines = CallDeadlines::start(&timeouts);
        let url = address::url(&self.family, &self.base_url, "", self.family.models_path());
        let headers = self.headers("application/json", &Call::default())?;
        let exchange = self.send(Method::GET, &url, None, headers, deadlines).await?;
        if !exchange.status().is_success() {
            return Err(self.failed(exchange).await.error);
        }
        let headers = exchange.headers().clone();
        let body = exchange.read(MAX_MODEL_LIST_BYTES).await?;
        model_list::parse_models(&body).ok_or_else(|| match embedded_status(&body) {
            Some(status) => self.decode_error(status, &headers, &body),
            None => self.error(LlmErrorKind::Protocol, "the response is no list of models"),
        })
    }
}

/// Returns the limits of an answer that arrives as a whole.
fn for_whole_answer(timeouts: &CallTimeouts) -> CallTimeouts {
    CallTimeouts { first_byte: timeouts.first_byte.saturating_mul(WHOLE_ANSWER_FACTOR), ..*timeouts }
}

/// Removes [`STREAM_OPTIONS`]. Returns whether the request contained them.
fn remove_stream_options(wire: &mut WireRequest) -> bool {
    wire.body.as_object_mut().and_then(|body| body.remove(STREAM_OPTIONS)).is_some()
}

/// Returns whether a provider rejected a request because of [`STREAM_OPTIONS`].
fn is_about_stream_options(failed: &FailedResponse) -> bool {
    let is_rejected = matches!(failed.error.status, Some(400 | 422));
    let names = |text: &[u8]| {
        let contains = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
        contains(STREAM_OPTIONS.as_bytes()) || contains(b"include_usage")
    };
    is_rejected && (failed.error.param.as_deref().is_some_and(|param| names(param.as_bytes())) || names(&failed.body))
}
