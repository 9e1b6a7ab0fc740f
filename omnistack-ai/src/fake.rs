//! The built-in fake, by which an app answers without an account at a provider: in development, and in tests.

mod answer;
mod embedding;
mod instance;
mod script;

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};

use crate::{
    chat::{ChatEvent, ChatRequest, ChatResponse, ChatStream, TokenUsage, events_of},
    embedding::{EmbeddingRequest, Embeddings},
    error::{LlmError, LlmErrorKind, TimeoutPhase},
    provider::{Call, LlmProvider, ModelCapabilities, ProviderModel},
};

use answer::{answer, tokens_of};
use embedding::{DEFAULT_DIMENSIONS, MAX_DIMENSIONS, embedding};
use script::{FakeCut, FakeOutcome, FakeState, FakeStep};

/// The name of the provider.
pub(crate) const FAKE_PROVIDER: &str = "fake";

/// The model for embeddings.
const EMBEDDING_MODEL: &str = "fake-embedding";

/// The models.
const MODELS: [&str; 3] = ["fake-small", "fake-large", EMBEDDING_MODEL];

/// A provider without a model, which an app uses if no other is set up, and tests.
///
/// It repeats what the user says, and counts four bytes as a token. It calls a tool if the request requires it, or if
/// the user names one or says "tool"; the arguments match the tool's schema. If the request asks for JSON, the answer
/// matches its schema. Embeddings are made of words: texts with the same words are near to each other. The same request
/// always has the same answer.
///
/// A test scripts answers, one for each call in order. After the last, the fake answers as above:
///
/// ```
/// use omnistack_ai::{Call, ChatRequest, FakeLlm, LlmError, LlmErrorKind, LlmProvider as _, Message};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let overloaded = LlmError::new(LlmErrorKind::Overloaded, "fake", "overloaded");
/// let fake = FakeLlm::script().error(overloaded).reply("Hello!");
/// let request = ChatRequest::new("fake-small", [Message::user("Hi")]);
///
/// assert!(fake.complete(&request, &Call::default()).await.is_err());
/// assert_eq!(fake.complete(&request, &Call::default()).await.unwrap().text(), "Hello!");
/// assert_eq!(fake.complete(&request, &Call::default()).await.unwrap().text(), "You said: Hi");
/// assert_eq!(fake.calls(), 3);
/// # }
/// ```
///
/// Clones share the script and the counters.
#[derive(Clone)]
#[must_use]
pub struct FakeLlm {
    name: Cow<'static, str>,
    account: Option<Arc<str>>,
    state: Arc<Mutex<FakeState>>,
}

impl FakeLlm {
    /// Creates a fake without a script. It keeps no requests.
    pub fn new() -> Self {
        Self { name: Cow::Borrowed(FAKE_PROVIDER), account: None, state: Arc::default() }
    }

    /// Creates a fake for a test, whose script the following methods write. It keeps the last 1,000 requests.
    pub fn script() -> Self {
        let fake = Self::new();
        fake.state().keeps_requests = true;
        fake
    }

    /// Sets the name. Default: `fake`.
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the account. Default: the name.
    pub fn with_account(mut self, account: &str) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Adds an answer of text, which a stream sends word by word.
    pub fn reply(self, text: impl AsRef<str>) -> Self {
        let pieces = words(text.as_ref()).into_iter().map(str::to_owned).collect();
        self.step(FakeOutcome::Pieces(pieces))
    }

    /// Adds an answer of text, which a stream sends in these pieces.
    pub fn chunks<T: Into<String>>(self, pieces: impl IntoIterator<Item = T>) -> Self {
        self.step(FakeOutcome::Pieces(pieces.into_iter().map(Into::into).collect()))
    }

    /// Adds an answer that calls a tool.
    pub fn tool_call(self, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        self.step(FakeOutcome::ToolCalls(vec![(name.into(), arguments.into())]))
    }

    /// Adds an answer that calls several tools at once: names and arguments.
    pub fn tool_calls<N: Into<String>, A: Into<String>>(self, calls: impl IntoIterator<Item = (N, A)>) -> Self {
        let calls = calls.into_iter().map(|(name, arguments)| (name.into(), arguments.into()));
        self.step(FakeOutcome::ToolCalls(calls.collect()))
    }

    /// Adds exactly this answer, with its model and its usage.
    pub fn answer(self, response: ChatResponse) -> Self {
        self.step(FakeOutcome::Answer(Box::new(response)))
    }

    /// Adds an error instead of an answer.
    pub fn error(self, error: LlmError) -> Self {
        self.step(FakeOutcome::Error(error))
    }

    /// Adds a call without an answer: it fails when its first-byte limit has passed.
    pub fn hang(self) -> Self {
        self.step(FakeOutcome::Hang)
    }

    /// Interrupts the answer that was added last after so many pieces of a stream.
    pub fn interrupt_after(self, pieces: usize) -> Self {
        let message = "the answer ended before it was complete";
        let error = LlmError::new(LlmErrorKind::Interrupted, self.name.clone(), message);
        self.error_after(pieces, error)
    }

    /// Ends the answer that was added last with an error after so many pieces of a stream. With 0, the error is the
    /// first item of the stream.
    pub fn error_after(self, pieces: usize, error: LlmError) -> Self {
        self.state().last_step().cut = Some(FakeCut { after: pieces, error: Some(error) });
        self
    }

    /// Stalls the answer that was added last after so many pieces of a stream: it fails when its idle limit has passed.
    pub fn hang_after(self, pieces: usize) -> Self {
        self.state().last_step().cut = Some(FakeCut { after: pieces, error: None });
        self
    }

    /// Returns the number of calls in conversations so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Returns the number of calls for embeddings so far.
    pub fn embedding_calls(&self) -> u64 {
        self.state().embeddings
    }

    /// Returns the requests of the calls in conversations, the last 1,000. Only a fake with a [script](Self::script)
    /// keeps them.
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.state().requests.iter().cloned().collect()
    }

    /// Returns the number of streams that neither have ended nor were dropped.
    pub fn open_streams(&self) -> usize {
        self.state().open_streams
    }

    /// Returns the number of streams that were dropped before their end.
    pub fn abandoned_streams(&self) -> u64 {
        self.state().abandoned_streams
    }

    fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(self, outcome: FakeOutcome) -> Self {
        self.state().steps.push_back(FakeStep::new(outcome));
        self
    }

    /// Counts a call, and returns its number and its step. Fails if the step is not scripted and the fake has no such
    /// model.
    fn begin(&self, request: &ChatRequest) -> Result<(u64, FakeStep), LlmError> {
        let (number, step) = self.state().next_step(request);
        let is_scripted = !matches!(step.outcome, FakeOutcome::OfRequest);
        if is_scripted || (request.model.starts_with("fake-") && request.model != EMBEDDING_MODEL) {
            return Ok((number, step));
        }
        Err(self.unknown_model(&request.model))
    }

    fn unknown_model(&self, model: &str) -> LlmError {
        let shown: String = model.chars().take(100).collect();
        let message = format!("the fake has no model `{shown}` for this; its models are {}", MODELS.join(", "));
        let mut error = LlmError::new(LlmErrorKind::UnknownModel, self.name.clone(), message);
        error.status = Some(404);
        error
    }

    /// Waits until a time limit passes, and returns its error.
    async fn time_out(&self, phase: TimeoutPhase, call: &Call) -> LlmError {
        let limit = match phase {
            TimeoutPhase::FirstByte => call.timeouts.first_byte,
            TimeoutPhase::Idle => call.timeouts.idle,
            TimeoutPhase::Total => call.timeouts.total,
        };
        let phase = if call.timeouts.total <= limit { TimeoutPhase::Total } else { phase };
        tokio::time::sleep(limit.min(call.timeouts.total)).await;
        LlmError::new(LlmErrorKind::Timeout(phase), self.name.clone(), "the fake sent nothing within the time limit")
    }
}

impl Default for FakeLlm {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeLlm {
    /// Writes no requests: they contain prompts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("FakeLlm")
            .field("name", &self.name)
            .field("scripted", &state.steps.len())
            .field("calls", &state.calls)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl LlmProvider for FakeLlm {
    fn name(&self) -> &str {
        &self.name
    }

    fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.name)
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        let embeddings = model == EMBEDDING_MODEL;
        let chat = !embeddings;
        ModelCapabilities { chat, tools: chat, images: chat, json_schema: chat, embeddings }
    }

    /// Returns `true`: the fake looks at no media.
    fn accepts_media_urls(&self) -> bool {
        true
    }

    async fn complete(&self, request: &ChatRequest, call: &Call) -> Result<ChatResponse, LlmError> {
        let (number, step) = self.begin(request)?;
        if matches!(step.outcome, FakeOutcome::Hang) {
            return Err(self.time_out(TimeoutPhase::FirstByte, call).await);
        }
        let response = answer(&self.name, number, request, &step.outcome)?;
        match step.cut {
            None => Ok(response),
            Some(FakeCut { error: Some(error), .. }) => Err(error),
            Some(FakeCut { error: None, .. }) => Err(self.time_out(TimeoutPhase::Idle, call).await),
        }
    }

    async fn stream(&self, request: &ChatRequest, call: &Call) -> Result<ChatStream, LlmError> {
        let (number, step) = self.begin(request)?;
        if matches!(step.outcome, FakeOutcome::Hang) {
            return Err(self.time_out(TimeoutPhase::FirstByte, call).await);
        }
        let response = answer(&self.name, number, request, &step.outcome)?;
        let events = match &step.outcome {
            FakeOutcome::Pieces(pieces) => with_pieces(events_of(&response, words), &response, pieces),
            _ => events_of(&response, words),
        };
        let (events, end) = match step.cut {
            None => (events, FakeStreamEnd::Complete),
            Some(FakeCut { after, error }) => {
                let end = error.map_or(FakeStreamEnd::Stall(after), FakeStreamEnd::Error);
                (cut(events, after), end)
            }
        };
        let open = OpenStream::new(self.clone());
        let state = FakeStream { events: events.into(), end, call: call.clone(), open };
        Ok(stream::unfold(state, |mut state| async move {
            let item = state.next().await?;
            Some((item, state))
        })
        .boxed())
    }

    async fn embed(&self, request: &EmbeddingRequest, _: &Call) -> Result<Embeddings, LlmError> {
        self.state().embeddings += 1;
        if request.model != EMBEDDING_MODEL {
            return Err(self.unknown_model(&request.model));
        }
        let dimensions = request.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            let message = format!("dimensions must be from 1 to {MAX_DIMENSIONS}");
            let mut error = LlmError::new(LlmErrorKind::InvalidRequest, self.name.clone(), message);
            error.status = Some(400);
            error.param = Some("dimensions".to_owned());
            return Err(error);
        }
        let length = usize::try_from(dimensions).unwrap_or(1);
        let vectors = request.input.iter().map(|text| embedding(text, length)).collect();
        let input = request.input.iter().map(|text| tokens_of(text.len())).fold(0, u64::saturating_add);
        let usage = TokenUsage { input, ..TokenUsage::default() };
        Ok(Embeddings::new(&request.model, vectors, Some(usage)))
    }

    async fn models(&self) -> Result<Vec<ProviderModel>, LlmError> {
        let model = |id: &&str| ProviderModel { id: (*id).to_owned(), owned_by: Some("omnistack".to_owned()) };
        Ok(MODELS.iter().map(model).collect())
    }
}

/// A stream of the fake.
struct FakeStream {
    events: VecDeque<ChatEvent>,
    end: FakeStreamEnd,
    call: Call,
    open: OpenStream,
}

/// The end of a stream, after its events.
enum FakeStreamEnd {
    Complete,
    Error(LlmError),
    /// Silence after this number of pieces.
    Stall(usize),
}

impl FakeStream {
    async fn next(&mut self) -> Option<Result<ChatEvent, LlmError>> {
        if let Some(event) = self.events.pop_front() {
            return Some(Ok(event));
        }
        let end = std::mem::replace(&mut self.end, FakeStreamEnd::Complete);
        let error = match end {
            FakeStreamEnd::Complete => None,
            FakeStreamEnd::Error(error) => Some(error),
            FakeStreamEnd::Stall(after) => {
                let phase = if after == 0 { TimeoutPhase::FirstByte } else { TimeoutPhase::Idle };
                Some(self.open.fake.time_out(phase, &self.call).await)
            }
        };
        self.open.has_ended = true;
        error.map(Err)
    }
}

/// The count of an open stream.
struct OpenStream {
    fake: FakeLlm,
    has_ended: bool,
}

impl OpenStream {
    fn new(fake: FakeLlm) -> Self {
        fake.state().open_streams += 1;
        Self { fake, has_ended: false }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut state = self.fake.state();
        state.open_streams -= 1;
        if !self.has_ended {
            state.abandoned_streams += 1;
        }
    }
}

/// Returns the words of a text, each with the space after it.
fn words(text: &str) -> Vec<&str> {
    text.split_inclusive(char::is_whitespace).collect()
}

/// Replaces the pieces of the text by those of the script, unless the request cut the text.
fn with_pieces(events: Vec<ChatEvent>, response: &ChatResponse, pieces: &[String]) -> Vec<ChatEvent> {
    if response.text() != pieces.concat() {
        return events;
    }
    let mut others: Vec<_> = events.into_iter().filter(|event| !matches!(event, ChatEvent::Text { .. })).collect();
    let texts = pieces.iter().map(|piece| ChatEvent::Text { index: 0, delta: piece.clone() });
    let rest = others.split_off(others.len().min(1));
    others.into_iter().chain(texts).chain(rest).collect()
}

/// Returns the events up to so many pieces of the content. Without a piece, there is no event.
fn cut(events: Vec<ChatEvent>, pieces: usize) -> Vec<ChatEvent> {
    if pieces == 0 {
        return Vec::new();
    }
    let mut left = pieces;
    let before = events.into_iter().take_while(|event| {
        let is_piece = !matches!(event, ChatEvent::Start { .. } | ChatEvent::Warning(_));
        let is_end = matches!(event, ChatEvent::Usage { .. } | ChatEvent::ServiceTier(_) | ChatEvent::End(_));
        let is_kept = !is_end && (!is_piece || left > 0);
        left = left.saturating_sub(usize::from(is_piece));
        is_kept
    });
    before.collect()
}
