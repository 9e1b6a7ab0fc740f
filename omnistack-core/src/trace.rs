//! Propagation of the W3C trace context.
//!
//! A request may name its trace by W3C Trace Context (the headers `traceparent` and `tracestate`). The default layer
//! stack keeps the trace context for the duration of the request, [`Jobs`](crate::jobs::Jobs) store it with every job
//! that the request enqueues, and a job runs in the trace in which it was enqueued. So work that runs hours later, in
//! another process, can still be traced back to its request.
//!
//! ```
//! use omnistack_core::trace::{self, TraceContext};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
//! let trace = TraceContext::new(parent).unwrap();
//! trace::with_trace(Some(trace), async {
//!     // A spawned task does not inherit the trace context; `propagate` passes it on.
//!     let task = tokio::spawn(trace::propagate(async { TraceContext::current() }));
//!     let trace = task.await.unwrap().unwrap();
//!     assert_eq!(trace.traceparent(), parent);
//!     assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
//! })
//! .await;
//! assert_eq!(TraceContext::current(), None);
//! # }
//! ```
//!
//! This is propagation only: nothing here opens a span, samples or exports. The headers are passed on unchanged, as
//! the specification requires of a system that does not take part in the trace.

mod state;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName};
use pin_project_lite::pin_project;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

tokio::task_local! {
    /// Trace context of the task that is being polled.
    static CURRENT: TraceContext;
}

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
    pub(crate) fn from_stored(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let trace = Self::new(traceparent)?;
        Some(match tracestate {
            Some(state) => trace.with_state(state),
            None => trace,
        })
    }

    /// Returns the trace context of the current task, if any.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
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

/// Runs a future in a trace. Without a trace the future runs unchanged.
pub fn with_trace<F>(trace: Option<TraceContext>, future: F) -> WithTrace<F> {
    WithTrace { future, trace }
}

/// Passes the current trace context to a future, for use with `tokio::spawn`.
pub fn propagate<F>(future: F) -> WithTrace<F> {
    with_trace(TraceContext::current(), future)
}

pin_project! {
    /// A future that runs in a trace. Created by [`within`] and [`carry`].
    #[derive(Debug)]
    #[must_use = "a future does nothing until it is awaited"]
    pub struct WithTrace<F> {
        #[pin]
        future: F,
        trace: Option<TraceContext>,
    }
}

impl<F: Future> Future for WithTrace<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.trace {
            None => this.future.poll(cx),
            Some(trace) => CURRENT.sync_scope(trace.clone(), || this.future.poll(cx)),
        }
    }
}
