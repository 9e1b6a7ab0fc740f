//! The metrics and spans of calls, by the semantic conventions of OpenTelemetry for generative AI.

use std::time::Duration;

use omnistack_core::{
    metrics,
    trace::{Span, SpanKind, attribute},
};

use crate::{
    chat::{ChatRequest, StopKind, TokenUsage},
    error::{LlmError, LlmErrorKind, TimeoutPhase},
    router::RouteTarget,
};

/// The label of models that are not in the catalog, whose names callers can make up.
const OTHER_MODEL: &str = "other";

/// Returns the name of a kind of error in the ledger, in metrics and in spans.
pub(super) const fn error_name(kind: LlmErrorKind) -> &'static str {
    match kind {
        LlmErrorKind::InvalidRequest => "invalid_request",
        LlmErrorKind::ContextLength => "context_length",
        LlmErrorKind::Unauthorized => "unauthorized",
        LlmErrorKind::QuotaExhausted => "quota_exhausted",
        LlmErrorKind::RateLimited => "rate_limited",
        LlmErrorKind::Overloaded => "overloaded",
        LlmErrorKind::UnknownModel => "unknown_model",
        LlmErrorKind::NotSupported => "not_supported",
        LlmErrorKind::ContentFiltered => "content_filtered",
        LlmErrorKind::Timeout(TimeoutPhase::FirstByte) => "timeout_first_byte",
        LlmErrorKind::Timeout(TimeoutPhase::Idle) => "timeout_idle",
        LlmErrorKind::Timeout(TimeoutPhase::Total) => "timeout_total",
        LlmErrorKind::Interrupted => "interrupted",
        LlmErrorKind::Failed => "failed",
        LlmErrorKind::Unreachable => "unreachable",
        LlmErrorKind::Protocol => "protocol",
        LlmErrorKind::SchemaMismatch => "schema_mismatch",
    }
}

/// The observation of one attempt: its span, which ends when this is dropped, and its metrics.
#[derive(Debug)]
pub(super) struct AttemptObservation {
    pub(super) span: Span,
    provider: String,
    model: String,
}

impl AttemptObservation {
    /// Begins an attempt. `operation` is `chat` or `embeddings`.
    pub(super) fn begin(operation: &'static str, target: &RouteTarget) -> Self {
        let span = Span::child(SpanKind::Client, || format!("{operation} {}", target.model).into());
        if span.is_recording() {
            span.set(attribute::GEN_AI_OPERATION_NAME, operation);
            span.set(attribute::GEN_AI_PROVIDER_NAME, target.provider.name().to_owned());
            span.set(attribute::GEN_AI_REQUEST_MODEL, target.model.clone());
        }
        let model = if target.info.is_some() { target.model.clone() } else { OTHER_MODEL.to_owned() };
        Self { span, provider: target.provider.name().to_owned(), model }
    }

    /// Sets the parameters of a request on the span.
    pub(super) fn set_request(&self, request: &ChatRequest) {
        if !self.span.is_recording() {
            return;
        }
        if let Some(most) = request.max_output_tokens {
            self.span.set(attribute::GEN_AI_REQUEST_MAX_TOKENS, i64::try_from(most).unwrap_or(i64::MAX));
        }
        if let Some(temperature) = request.temperature {
            self.span.set(attribute::GEN_AI_REQUEST_TEMPERATURE, temperature);
        }
        if let Some(top_p) = request.top_p {
            self.span.set(attribute::GEN_AI_REQUEST_TOP_P, top_p);
        }
    }

    /// Records that the first part of the answer has arrived.
    pub(super) fn first_byte(&self, after: Duration) {
        let histogram = metrics::LLM_FIRST_TOKEN.histogram([self.provider.clone(), self.model.clone()]);
        histogram.record(after);
    }

    /// Records that the attempt has failed.
    pub(super) fn failed(&self, error: &LlmError, after: Duration) {
        let name = error_name(error.kind);
        self.span.set_error(name);
        self.count(name, after);
    }

    /// Records that the attempt has an answer.
    pub(super) fn succeeded(&self, model: &str, stop: Option<StopKind>, usage: &TokenUsage, after: Duration) {
        if self.span.is_recording() {
            self.span.set(attribute::GEN_AI_RESPONSE_MODEL, model.to_owned());
            self.span.set(attribute::GEN_AI_USAGE_INPUT_TOKENS, i64::try_from(usage.input).unwrap_or(i64::MAX));
            self.span.set(attribute::GEN_AI_USAGE_OUTPUT_TOKENS, i64::try_from(usage.output).unwrap_or(i64::MAX));
            if let Some(stop) = stop {
                self.span.set(attribute::GEN_AI_RESPONSE_FINISH_REASONS, stop_name(stop));
            }
        }
        self.count_tokens(usage);
        self.count("ok", after);
    }

    /// Counts tokens, also of an answer that was interrupted.
    pub(super) fn count_tokens(&self, usage: &TokenUsage) {
        for (kind, tokens) in [("input", usage.input), ("output", usage.output)] {
            metrics::LLM_TOKENS.counter([self.provider.clone(), self.model.clone(), kind.to_owned()]).increment(tokens);
        }
    }

    fn count(&self, status: &'static str, after: Duration) {
        let labels = [self.provider.clone(), self.model.clone(), status.to_owned()];
        metrics::LLM_REQUESTS.counter(labels).increment(1);
        metrics::LLM_REQUEST_DURATION.histogram([self.provider.clone(), self.model.clone()]).record(after);
    }
}

/// Counts a call whose price is not known.
pub(super) fn count_unpriced(target: &RouteTarget) {
    let model = if target.info.is_some() { target.model.clone() } else { OTHER_MODEL.to_owned() };
    metrics::LLM_UNPRICED.counter([target.provider.name().to_owned(), model]).increment(1);
}

/// Counts a read of the cache of answers: `hit`, `similar` or `miss`.
pub(super) fn count_cache(result: &'static str) {
    metrics::LLM_CACHE.counter([result]).increment(1);
}

/// Counts a refusal by a guardrail.
pub(super) fn count_refusal(guardrail: &'static str) {
    metrics::LLM_REFUSALS.counter([guardrail]).increment(1);
}

const fn stop_name(stop: StopKind) -> &'static str {
    match stop {
        StopKind::Stop => "stop",
        StopKind::Length => "length",
        StopKind::ToolCalls => "tool_calls",
        StopKind::ContentFilter => "content_filter",
        StopKind::Refusal => "refusal",
        StopKind::Paused => "paused",
        StopKind::Interrupted => "interrupted",
        StopKind::Other => "other",
    }
}
