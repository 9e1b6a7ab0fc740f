//! The gateway: one door to all models.
//!
//! A call passes the same parts in one order: the policies (guardrails, allowed models) → the reservation of budgets →
//! the cache → the router → fallback over the targets, each behind its breaker and with retries → settlement, which
//! writes the ledger. Another target is tried only before the first part of an answer has reached the caller. A call is
//! settled whatever becomes of it: if its caller leaves, a stream ends and what was produced is paid, and a whole
//! answer is completed in the background to learn its usage.

mod answer;
mod attempts;
mod caching;
mod call_run;
mod content;
mod deadline;
mod detached;
mod engine;
mod estimate;
mod live_stream;
mod logging;
mod observe;
mod policy;
mod pricing;
mod prompt_log;
mod refusal;
mod register;
mod schema;
mod settings;
mod signatures;

pub use answer::{AiError, GatewayAnswer, GatewayEmbeddings, GatewayEvent, GatewayStream};
pub(crate) use register::register;

use std::{fmt, sync::Arc};

use crate::{
    call::{AiCaller, CallOptions},
    catalog::ModelCatalog,
    chat::{ChatRequest, Message},
    embedding::EmbeddingRequest,
    provider::LlmProvider,
};
use detached::CallerPresence;
use engine::{Engine, Work};
use policy::CallKind;

/// The gateway to all models. Cheap to clone.
///
/// ```
/// use omnistack_ai::{AiCaller, AiError, AiGateway, CallOptions, ChatRequest, Message};
/// use omnistack_core::identity::TenantId;
///
/// async fn summarize(ai: &AiGateway, tenant: TenantId, text: &str) -> Result<String, AiError> {
///     let messages = [Message::system("Summarize in one sentence."), Message::user(text)];
///     let request = ChatRequest::new("fast", messages).max_output_tokens(200);
///     let answer = ai.complete(AiCaller::of_tenant(tenant), request, CallOptions::default()).await?;
///     Ok(answer.response.text())
/// }
/// # let _ = summarize;
/// ```
#[derive(Clone)]
pub struct AiGateway(Arc<Engine>);

impl AiGateway {
    /// Answers in a conversation. If this future is dropped while a provider answers, the answer is completed in the
    /// background, so that its real usage is paid; `AI_MAX_DRAINS` limits how many at a time.
    ///
    /// # Errors
    /// [`AiError::Refused`] with 402 `AI_BUDGET_EXCEEDED`, 403 `MODEL_NOT_ALLOWED`, 404
    /// `MODEL_NOT_FOUND`, 410 `MODEL_RETIRED`, 422 `CONTENT_REFUSED` or `VALIDATION_FAILED`, 429
    /// `PROVIDER_RATE_LIMITED`, 503 `GUARDRAIL_UNAVAILABLE` or `AI_UNAVAILABLE`; [`AiError::Upstream`] if no provider
    /// has answered, with the failure of the provider that was asked last.
    pub async fn complete(
        &self,
        caller: AiCaller,
        mut request: ChatRequest,
        options: CallOptions,
    ) -> Result<GatewayAnswer, AiError> {
        let plan = self.0.plan(caller, &mut request, options, CallKind::Chat).await?;
        let run = self.0.open(plan, &request, CallKind::Chat, true).await?;
        let engine = Arc::clone(&self.0);
        let work = move |presence: CallerPresence| -> Work<GatewayAnswer> {
            Box::pin(async move { Box::pin(engine.complete(run, request, &presence)).await })
        };
        self.0.drains.run(work).await?
    }

    /// Answers in a conversation piece by piece. It returns when the first part of the content has arrived; until then,
    /// the providers of the route are tried one after the other. Dropping the stream ends the call.
    ///
    /// An answer that must match a JSON schema is validated at its end; if it does not match, the stream ends with
    /// [`LlmErrorKind::SchemaMismatch`](crate::LlmErrorKind::SchemaMismatch), because what was sent can't be repaired.
    ///
    /// # Errors
    /// Those of [`complete`](Self::complete).
    pub async fn stream(
        &self,
        caller: AiCaller,
        mut request: ChatRequest,
        options: CallOptions,
    ) -> Result<GatewayStream, AiError> {
        let plan = self.0.plan(caller, &mut request, options, CallKind::Chat).await?;
        // What was passed on can't be repaired.
        let run = self.0.open(plan, &request, CallKind::Chat, self.0.checks_output()).await?;
        Box::pin(Arc::clone(&self.0).stream(run, request)).await
    }

    /// Creates the embeddings of texts, in the order of the texts. The guardrails check each text as a message of the
    /// user.
    ///
    /// # Errors
    /// Those of [`complete`](Self::complete).
    pub async fn embed(
        &self,
        caller: AiCaller,
        mut request: EmbeddingRequest,
        options: CallOptions,
    ) -> Result<GatewayEmbeddings, AiError> {
        if request.input.is_empty() {
            return Err(refusal::no_input().into());
        }
        let texts = std::mem::take(&mut request.input);
        let mut as_chat = ChatRequest::new(request.model.clone(), texts.into_iter().map(Message::user));
        let plan = self.0.plan(caller, &mut as_chat, options, CallKind::Embeddings).await?;
        let run = self.0.open(plan, &as_chat, CallKind::Embeddings, false).await?;
        request.input = as_chat.messages.iter().map(Message::to_text).collect();
        let engine = Arc::clone(&self.0);
        let work = move |presence: CallerPresence| -> Work<GatewayEmbeddings> {
            Box::pin(async move { engine.embed(run, request, &presence).await })
        };
        self.0.drains.run(work).await?
    }

    /// Returns the models and their prices.
    pub fn catalog(&self) -> &ModelCatalog {
        &self.0.catalog
    }

    /// Waits for whole answers and embeddings that are under way, at most two seconds. The others end and pay for what is
    /// known of them.
    pub(crate) async fn stop(&self) {
        self.0.drains.stop().await;
    }

    /// Returns the providers.
    pub fn providers(&self) -> &[Arc<dyn LlmProvider>] {
        &self.0.providers
    }
}

impl fmt::Debug for AiGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AiGateway").field("providers", &self.0.providers).finish_non_exhaustive()
    }
}
