//! The trace a piece of work belongs to, passed on as it came.
//!
//! A request may say by W3C Trace Context (the headers `traceparent` and `tracestate`) which trace it is part of. The default
//! stack keeps that for as long as the request is answered, [`Jobs`](crate::jobs::Jobs) store it with every job enqueued
//! meanwhile, and a job runs in the trace it was enqueued in. So what happens hours later, in another process, still leads
//! back to the request that asked for it.
//!
//! ```
//! use omnistack_core::trace::{self, TraceContext};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
//! let trace = TraceContext::new(parent).unwrap();
//! trace::within(Some(trace), async {
//!     // A task of its own knows nothing of the one that spawned it, unless it takes the trace along.
//!     let task = tokio::spawn(trace::carry(async { TraceContext::current() }));
//!     let trace = task.await.unwrap().unwrap();
//!     assert_eq!(trace.traceparent(), parent);
//!     assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
//! })
//! .await;
//! assert_eq!(TraceContext::current(), None);
//! # }
//! ```
//!
//! This is propagation only: nothing here opens a span, samples or exports. What came in goes on unchanged, as the
//! specification asks of who takes no part in a trace.

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
    /// What the task that is polled belongs to.
    static CURRENT: TraceContext;
}

/// A place in a trace, by [W3C Trace Context](https://www.w3.org/TR/trace-context). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext(Arc<Place>);

#[derive(PartialEq, Eq, Hash)]
struct Place {
    parent: String,
    state: Option<String>,
}

impl TraceContext {
    /// Of a `traceparent` (section 3.2); none of one that is not valid. Of a version newer than `00` this is what `00` has of
    /// it.
    pub fn new(traceparent: &str) -> Option<Self> {
        Some(Self(Arc::new(Place { parent: parent(traceparent)?, state: None })))
    }

    /// With a `tracestate` (section 3.3). One that is not valid is left out; of one longer than 512 bytes entries longer than
    /// 128 go first, then the last ones.
    #[must_use]
    pub fn with_state(self, tracestate: &str) -> Self {
        Self(Arc::new(Place { parent: self.0.parent.clone(), state: state::read([tracestate]) }))
    }

    /// Of a request's headers. Without exactly one valid `traceparent` there is none, whatever `tracestate` says; several
    /// `tracestate` are one list.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(PARENT).iter();
        let given = parents.next()?;
        if parents.next().is_some() {
            return None;
        }
        let parent = parent(given.to_str().ok()?)?;
        let states: Option<Vec<_>> = headers.get_all(STATE).iter().map(|state| state.to_str().ok()).collect();
        Some(Self(Arc::new(Place { parent, state: state::read(states.unwrap_or_default()) })))
    }

    /// As it was stored.
    pub(crate) fn stored(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let trace = Self::new(traceparent)?;
        Some(match tracestate {
            Some(state) => trace.with_state(state),
            None => trace,
        })
    }

    /// The one the code that asks runs in.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// The header `traceparent`, to be sent on.
    pub fn traceparent(&self) -> &str {
        &self.0.parent
    }

    /// The header `tracestate`, to be sent on with it.
    pub fn tracestate(&self) -> Option<&str> {
        self.0.state.as_deref()
    }

    /// The id of the whole trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.0.parent[3..35]
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { parent, state } = &*self.0;
        f.debug_struct("TraceContext").field("traceparent", parent).field("tracestate", state).finish()
    }
}

/// `00-` trace id `-` parent id `-` flags.
fn parent(text: &str) -> Option<String> {
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
        // A version to come may add fields. Its flags but the last mean what nobody knows yet.
        _ if more.is_empty() || more.starts_with('-') => {
            let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
            Some(format!("00-{trace}-{parent}-{sampled:02x}"))
        }
        _ => None,
    }
}

/// Runs a future as part of a trace; without one, as it is.
pub fn within<F>(trace: Option<TraceContext>, future: F) -> Within<F> {
    Within { future, trace }
}

/// Takes the trace of this code along, into a task that is spawned.
pub fn carry<F>(future: F) -> Within<F> {
    within(TraceContext::current(), future)
}

pin_project! {
    /// A future that is part of a trace. Made by [`within`] and [`carry`].
    #[derive(Debug)]
    #[must_use = "a future does nothing until it is awaited"]
    pub struct Within<F> {
        #[pin]
        future: F,
        trace: Option<TraceContext>,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.trace {
            None => this.future.poll(cx),
            Some(trace) => CURRENT.sync_scope(trace.clone(), || this.future.poll(cx)),
        }
    }
}
