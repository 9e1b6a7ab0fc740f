//! The W3C trace context, and the futures that run in it.

use std::{
    fmt,
    pin::Pin,
    str::FromStr as _,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use pin_project_lite::pin_project;

use super::state;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// A position in a trace, as in [W3C Trace Context](https://www.w3.org/TR/trace-context). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext(Arc<TraceHeaders>);

#[derive(PartialEq, Eq, Hash)]
struct TraceHeaders {
    parent: String,
    state: Option<String>,
}

impl TraceContext {
    /// Parses a `traceparent` (section 3.2). Returns `None` if it is not valid. A version newer than `00` is reduced
    /// to the fields of version `00`.
    pub fn new(traceparent: &str) -> Option<Self> {
        Some(Self(Arc::new(TraceHeaders { parent: parse_traceparent(traceparent)?, state: None })))
    }

    /// Sets the `tracestate` (section 3.3). An invalid one is left out. Of one longer than 512 bytes, entries longer
    /// than 128 bytes are dropped first, then the last entries.
    #[must_use]
    pub fn with_state(self, tracestate: &str) -> Self {
        Self(Arc::new(TraceHeaders { parent: self.0.parent.clone(), state: state::read([tracestate]) }))
    }

    /// Reads the trace context from the headers of a request. Returns `None` unless there is exactly one valid
    /// `traceparent`, whatever `tracestate` contains. Several `tracestate` headers are joined to one list.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(PARENT).iter();
        let given = parents.next()?;
        if parents.next().is_some() {
            return None;
        }
        let parent = parse_traceparent(given.to_str().ok()?)?;
        let states: Option<Vec<_>> = headers.get_all(STATE).iter().map(|state| state.to_str().ok()).collect();
        Some(Self(Arc::new(TraceHeaders { parent, state: state::read(states.unwrap_or_default()) })))
    }

    /// Restores a trace context that was stored. Returns `None` if `traceparent` is not valid.
    pub fn from_stored(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let trace = Self::new(traceparent)?;
        Some(match tracestate {
            Some(state) => trace.with_state(state),
            None => trace,
        })
    }

    /// Returns the trace context of the current task, if any: the position of the current span, or the trace in which
    /// the request, job or event arrived.
    pub fn current() -> Option<Self> {
        Context::map_current(|context| Self::of(context.span().span_context()))
    }

    /// Returns the position of a span. Returns `None` if the span has no trace.
    pub(super) fn of(span: &SpanContext) -> Option<Self> {
        span.is_valid().then(|| {
            let parent = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags());
            let state = span.trace_state().header();
            Self(Arc::new(TraceHeaders { parent, state: (!state.is_empty()).then_some(state) }))
        })
    }

    /// Returns the context in which a span continues this trace.
    pub(super) fn to_context(&self) -> Context {
        let TraceHeaders { parent, state } = &*self.0;
        // The fields were checked when the trace context was parsed.
        let span = SpanContext::new(
            TraceId::from_hex(&parent[3..35]).unwrap_or(TraceId::INVALID),
            SpanId::from_hex(&parent[36..52]).unwrap_or(SpanId::INVALID),
            TraceFlags::new(u8::from_str_radix(&parent[53..], 16).unwrap_or_default()),
            true,
            state.as_deref().and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default(),
        );
        Context::new().with_remote_span_context(span)
    }

    /// Returns the value of the `traceparent` header for outgoing requests.
    pub fn traceparent(&self) -> &str {
        &self.0.parent
    }

    /// Returns the value of the `tracestate` header for outgoing requests, if any.
    pub fn tracestate(&self) -> Option<&str> {
        self.0.state.as_deref()
    }

    /// Returns the id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.0.parent[3..35]
    }

    /// Sets the headers `traceparent` and `tracestate` of an outgoing request.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in [(PARENT, Some(self.traceparent())), (STATE, self.tracestate())] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceHeaders { parent, state } = &*self.0;
        f.debug_struct("TraceContext").field("traceparent", parent).field("tracestate", state).finish()
    }
}

/// Parses `00-` trace id `-` parent id `-` flags, and returns it in version `00`, or `None` if it is not valid.
fn parse_traceparent(text: &str) -> Option<String> {
    const LENGTH: usize = 55;
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let text = text.trim_matches([' ', '\t']);
    let (known, more) = text.split_at_checked(LENGTH)?;
    let mut fields = known.split('-');
    let [version, trace, parent, flags] = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    let lengths = [version, trace, parent, flags].map(str::len) == [2, 32, 16, 2];
    if !lengths || ![version, trace, parent, flags].into_iter().all(hex) || zero(trace) || zero(parent) {
        return None;
    }
    match version {
        "ff" => None,
        "00" => more.is_empty().then(|| known.to_owned()),
        // A future version may add fields. Of its flags only the last is defined today.
        _ if more.is_empty() || more.starts_with('-') => {
            let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
            Some(format!("00-{trace}-{parent}-{sampled:02x}"))
        }
        _ => None,
    }
}

/// Runs a future in a trace, without the current baggage. Without a trace the future runs unchanged.
pub fn with_trace<F>(trace: Option<TraceContext>, future: F) -> WithTrace<F> {
    with_context(trace.map(|trace| trace.to_context()), future)
}

/// Passes the current trace context and baggage to a future, for use with `tokio::spawn`.
pub fn propagate<F>(future: F) -> WithTrace<F> {
    with_context(Some(Context::current()), future)
}

pub(crate) fn with_context<F>(context: Option<Context>, future: F) -> WithTrace<F> {
    WithTrace { future, context }
}

pin_project! {
    /// A future that runs in a trace, or with baggage. Created by [`with_trace`], [`propagate`],
    /// [`with_baggage`](super::with_baggage) and [`Span::run`](super::Span::run).
    #[derive(Debug)]
    #[must_use = "a future does nothing until it is awaited"]
    pub struct WithTrace<F> {
        #[pin]
        future: F,
        context: Option<Context>,
    }
}

impl<F: Future> Future for WithTrace<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _attached = this.context.clone().map(Context::attach);
        this.future.poll(cx)
    }
}
