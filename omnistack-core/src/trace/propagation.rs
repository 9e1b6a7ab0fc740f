//! The headers by which requests carry their trace and their baggage.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::HeaderMap;
use opentelemetry::Context;

use super::{Baggage, TraceContext, baggage};
use crate::config::SettingValue;

static TRACE_CONTEXT: AtomicBool = AtomicBool::new(true);
static BAGGAGE: AtomicBool = AtomicBool::new(false);

/// The headers that are read from requests, and sent with the calls of the app's HTTP client. The default is the
/// trace context without baggage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagators {
    /// Whether `traceparent` and `tracestate` of W3C Trace Context are read and sent.
    pub trace_context: bool,
    /// Whether `baggage` of W3C Baggage is read and sent.
    pub baggage: bool,
}

impl Default for Propagators {
    fn default() -> Self {
        Self { trace_context: true, baggage: false }
    }
}

/// The values of the variable `OTEL_PROPAGATORS` of the OpenTelemetry specification.
impl SettingValue for Propagators {
    const EXPECTED: &'static str = "tracecontext and baggage, separated by commas, or none";

    fn parse(text: &str) -> Result<Self, String> {
        let mut parsed = Self { trace_context: false, baggage: false };
        for name in text.split(',').map(str::trim) {
            match name {
                "tracecontext" => parsed.trace_context = true,
                "baggage" => parsed.baggage = true,
                "none" if text.trim() == "none" => {}
                _ => return Err(format!("`{name}` is no propagator: use tracecontext, baggage, or none alone")),
            }
        }
        Ok(parsed)
    }
}

/// Sets the headers that requests and calls of this process propagate.
pub fn set_propagators(propagators: Propagators) {
    TRACE_CONTEXT.store(propagators.trace_context, Relaxed);
    BAGGAGE.store(propagators.baggage, Relaxed);
}

/// Returns the headers that requests and calls of this process propagate.
pub fn propagators() -> Propagators {
    Propagators { trace_context: TRACE_CONTEXT.load(Relaxed), baggage: BAGGAGE.load(Relaxed) }
}

/// Returns the context in which a request arrived: its trace and its baggage. Returns `None` if it has neither.
pub(crate) fn extract(headers: &HeaderMap) -> Option<Context> {
    let accepted = propagators();
    let trace = if accepted.trace_context { TraceContext::from_headers(headers) } else { None };
    let context = trace.map(|trace| trace.to_context());
    // Most requests have none.
    if !accepted.baggage || !headers.contains_key(baggage::HEADER) {
        return context;
    }
    let baggage = Baggage::from_headers(headers);
    if baggage.is_empty() { context } else { Some(context.unwrap_or_default().with_value(baggage)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn propagators_are_parsed() {
        let of = |trace_context, baggage| Propagators { trace_context, baggage };
        for (text, expected) in [
            ("tracecontext,baggage", of(true, true)),
            ("baggage, tracecontext, baggage", of(true, true)),
            ("tracecontext", of(true, false)),
            ("baggage", of(false, true)),
            ("none", of(false, false)),
        ] {
            assert_eq!(Propagators::parse(text).unwrap(), expected, "{text}");
        }
        for invalid in ["", "b3", "none,baggage", "tracecontext,", "Baggage"] {
            assert!(Propagators::parse(invalid).is_err(), "{invalid}");
        }
    }
}
