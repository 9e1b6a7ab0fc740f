//! Spans, on the OpenTelemetry API.

use std::{borrow::Cow, fmt::Display, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use opentelemetry::{
    Context, ContextGuard, KeyValue, Value,
    global::{self, BoxedTracer},
    trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _},
};

use uuid::Uuid;

use super::{Baggage, TraceContext, WithTrace, attribute, context::with_context, propagators};

/// The tracer that [`enable`] took from the program's SDK.
static TRACER: ArcSwapOption<BoxedTracer> = ArcSwapOption::const_empty();

/// Records spans with the tracer provider that the program has installed by
/// `opentelemetry::global::set_tracer_provider`. A later call uses the provider that is installed then.
pub fn enable() {
    TRACER.store(Some(Arc::new(global::tracer("omnistack"))));
}

/// Stops recording spans. Spans that have started are recorded to their end.
pub fn disable() {
    TRACER.store(None);
}

/// Returns the tracer of [`enable`], for spans that [`Span`] can't express.
pub fn tracer() -> Option<Arc<BoxedTracer>> {
    TRACER.load_full()
}

/// A span: an operation that is measured as a part of a trace. It ends when it is dropped.
///
/// A span that is not recorded, because spans are disabled or its trace is not sampled, costs next to nothing, and its
/// methods do nothing.
#[derive(Debug)]
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    /// The context in which the operation runs. `None` if that is the current context.
    context: Option<Context>,
}

impl Span {
    /// Returns a span that is not recorded. Its work runs in the current context.
    pub(crate) fn none() -> Self {
        Self { context: None }
    }

    /// Starts a span for a part of the current one. It is recorded if the current one is, so that work without a
    /// trace, such as the polling of a queue, is not recorded. `name` is called only if the span is recorded.
    pub fn child(kind: SpanKind, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        Self::child_with(name, |builder| builder.with_kind(kind))
    }

    fn child_with(name: impl FnOnce() -> Cow<'static, str>, options: impl FnOnce(SpanBuilder) -> SpanBuilder) -> Self {
        let context = TRACER.load().as_ref().and_then(|tracer| {
            Context::map_current(|parent| {
                let build = || start(tracer, options(SpanBuilder::from_name(name())), parent);
                parent.span().is_recording().then(build)
            })
        });
        Self { context }
    }

    /// Starts a span for work that arrived in a trace, such as a request or a job, or a new trace if there is none.
    /// If spans are disabled, the work runs in the trace in which it arrived. `name` is called only if spans are
    /// enabled.
    pub fn continuing(trace: Option<TraceContext>, kind: SpanKind, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        Self::in_context(trace.map(|trace| trace.to_context()), kind, name)
    }

    /// Starts a span like [`continuing`](Self::continuing) for work that arrived in a context.
    pub(crate) fn in_context(
        parent: Option<Context>,
        kind: SpanKind,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Self {
        match &*TRACER.load() {
            Some(tracer) => {
                let builder = SpanBuilder::from_name(name()).with_kind(kind);
                Self { context: Some(start(tracer, builder, &parent.unwrap_or_default())) }
            }
            None => Self { context: parent },
        }
    }

    /// Starts a span like [`child`](Self::child) for an operation that has taken `elapsed` and ends now. It is only
    /// recorded once it has ended, so nothing can run in it.
    pub(crate) fn ended(kind: SpanKind, name: impl FnOnce() -> Cow<'static, str>, elapsed: Duration) -> Self {
        Self::child_with(name, |builder| {
            let now = opentelemetry::time::now();
            builder.with_kind(kind).with_start_time(now.checked_sub(elapsed).unwrap_or(now))
        })
    }

    /// Returns whether the span is recorded. Attributes that are costly to compute are set only if it is.
    pub fn is_recording(&self) -> bool {
        self.context.as_ref().is_some_and(|context| context.span().is_recording())
    }

    /// Sets an attribute. The keys of core and the feature crates are in [`attribute`](super::attribute).
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.context {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    pub(crate) fn set_all(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        if let Some(context) = &self.context {
            context.span().set_attributes(attributes);
        }
    }

    /// Replaces the name.
    pub fn rename(&self, name: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.context {
            context.span().update_name(name);
        }
    }

    /// Sets the status to *error*, the attribute `error.type` to a short, fixed name of the error, such as `timeout`,
    /// and `exception.message` to the error's message, which must not contain secrets.
    pub fn fail(&self, error_type: impl Into<Cow<'static, str>>, error: &dyn Display) {
        if self.is_recording() {
            self.set_error(error_type);
            self.set(attribute::EXCEPTION_MESSAGE, error.to_string());
        }
    }

    /// Sets the status to *error*, and the attribute `error.type`.
    pub fn set_error(&self, error_type: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.context {
            context.span().set_attribute(KeyValue::new(attribute::ERROR_TYPE, error_type.into()));
            context.span().set_status(Status::error(""));
        }
    }

    /// Returns the trace context of the span: the one that is current while [`run`](Self::run) polls its future.
    pub fn trace(&self) -> Option<TraceContext> {
        match &self.context {
            Some(context) => TraceContext::of(context.span().span_context()),
            None => TraceContext::current(),
        }
    }

    /// Sets the headers of an outgoing request by which its receiver continues the trace: `traceparent` and
    /// `tracestate` of the span, and `baggage` of the current task, as far as they are
    /// [propagated](super::set_propagators).
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        let sent = propagators();
        if let Some(trace) = self.trace().filter(|_| sent.trace_context) {
            trace.set_headers(headers);
        }
        if sent.baggage {
            Baggage::current().set_header(headers);
        }
    }

    /// Makes the span the current one of this thread until the guard is dropped.
    pub(crate) fn attach(&self) -> Option<ContextGuard> {
        self.context.clone().map(Context::attach)
    }

    /// Runs a future in the span.
    pub fn run<F>(&self, future: F) -> WithTrace<F> {
        with_context(self.context.clone(), future)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.context {
            context.span().end();
        }
    }
}

/// Sets an attribute of the current span. `value` is called only if the span is recorded.
pub fn set_attribute<V: Into<Value>>(key: &'static str, value: impl FnOnce() -> V) {
    Context::map_current(|context| {
        let span = context.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new(key, value()));
        }
    });
}

/// Starts the span of an operation on messages, such as jobs and events, by the semantic conventions for messaging.
/// `destination` is the name of the job or event.
pub(crate) fn messaging_span(kind: SpanKind, operation: &'static str, destination: &'static str) -> Span {
    let span = Span::child(kind, || messaging_name(operation, destination));
    set_messaging(&span, operation, destination);
    span
}

/// Starts the span in which a job, an event or another message is processed, in the trace in which it was sent, by the
/// semantic conventions for messaging. `destination` is the name of the job or event. Without a trace, the span begins
/// one.
pub fn processing_span(trace: Option<TraceContext>, destination: &'static str, id: Uuid) -> Span {
    let span = Span::continuing(trace, SpanKind::Consumer, || messaging_name("process", destination));
    set_messaging(&span, "process", destination);
    if span.is_recording() {
        span.set(attribute::MESSAGING_MESSAGE_ID, id.to_string());
    }
    span
}

fn messaging_name(operation: &str, destination: &str) -> Cow<'static, str> {
    format!("{operation} {destination}").into()
}

fn set_messaging(span: &Span, operation: &'static str, destination: &'static str) {
    if span.is_recording() {
        span.set_all([
            KeyValue::new(attribute::MESSAGING_SYSTEM, "omnistack"),
            KeyValue::new(attribute::MESSAGING_OPERATION_NAME, operation),
            KeyValue::new(attribute::MESSAGING_OPERATION_TYPE, operation),
            KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, destination),
        ]);
    }
}

fn start(tracer: &BoxedTracer, builder: SpanBuilder, parent: &Context) -> Context {
    let span = tracer.build_with_context(builder, parent);
    parent.with_span(span)
}
