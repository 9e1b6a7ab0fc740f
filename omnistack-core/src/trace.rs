//! Traces: the W3C trace context, baggage, and spans.
//!
//! # Propagation
//!
//! A request may name its trace by W3C Trace Context (the headers `traceparent` and `tracestate`). The default layer
//! stack keeps the trace context for the duration of the request, [`Jobs`](crate::jobs::Jobs) and
//! [`Events`](crate::events::Events) store it with every job and event of the request, and a job runs in the trace in
//! which it was enqueued. So work that runs hours later, in another process, can still be traced back to its request.
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
//! # Baggage
//!
//! [`Baggage`] is names and values that travel with a request through services, by the header `baggage`. It is
//! propagated if [`set_propagators`] says so, which the module of the feature `observability` does.
//!
//! # Spans
//!
//! Requests, SQL statements, commands of Redis, jobs, deliveries of events and calls to providers are [`Span`]s. They
//! are recorded if the program has installed an OpenTelemetry SDK, which the module of the feature `observability`
//! does if `OTEL_EXPORTER` is set; [`enable`] uses an SDK that the program installed itself. Without one, a trace
//! context is passed on unchanged, as the specification requires of a system that does not take part in the trace.
//!
//! An app adds spans with `#[tracing::instrument]`, or with [`Span`] if the kind of the span matters:
//!
//! ```
//! use omnistack_core::trace::{Span, SpanKind};
//!
//! # async fn call() -> Result<u32, std::io::Error> { Ok(1) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let span = Span::child(SpanKind::Client, || "geocode address".into());
//! span.set("geocoder.country", "NZ");
//! let found = span.run(call()).await;
//! if let Err(error) = &found {
//!     span.fail("io", error);
//! }
//! # }
//! ```

pub mod attribute;
mod baggage;
mod context;
mod propagation;
mod span;
mod state;

pub use baggage::{Baggage, with_baggage};
pub use context::{TraceContext, WithTrace, propagate, with_trace};
pub use opentelemetry::trace::SpanKind;
pub use propagation::{Propagators, propagators, set_propagators};
pub use span::{Span, disable, enable, processing_span, set_attribute, tracer};

pub(crate) use propagation::extract;
pub(crate) use span::messaging_span;
