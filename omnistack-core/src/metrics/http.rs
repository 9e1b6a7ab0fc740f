//! The metrics of HTTP requests.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use hashbrown::{Equivalent, HashMap};
use http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram};

use super::{HTTP_REQUEST_DURATION, HTTP_REQUESTS, HTTP_REQUESTS_IN_PROGRESS, HTTP_SERIES_OVERFLOW, NO_LABELS};

/// Largest number of combinations of method, path and status that are counted apart. Further ones are counted under
/// the path `overflow`.
const MAX_SERIES: usize = 2_000;
/// The path of requests that match no route, and so have paths that clients make up.
const UNMATCHED: &str = "unmatched";
/// The path of requests that exceed [`MAX_SERIES`].
const OVERFLOW: &str = "overflow";

/// The metrics of HTTP requests, by method, route pattern and status. Handles are created once for each combination.
/// The clone of a value shares its handles.
///
/// [`ObserveLayer::metrics`](crate::http::layer::ObserveLayer::metrics) uses it. An app records these metrics if a
/// module provides a value of this type.
#[derive(Clone)]
pub struct HttpMetrics(Arc<HttpHandles>);

struct HttpHandles {
    in_progress: Gauge,
    overflow: Counter,
    series: RwLock<HashMap<SeriesKey, HttpSeries, foldhash::fast::RandomState>>,
}

struct HttpSeries {
    requests: Counter,
    duration: Histogram,
}

#[derive(PartialEq, Eq, Hash)]
struct SeriesKey {
    method: &'static str,
    path: Box<str>,
    status: u16,
}

#[derive(Clone, Copy, Hash)]
struct SeriesRef<'a> {
    method: &'static str,
    path: &'a str,
    status: u16,
}

impl Equivalent<SeriesKey> for SeriesRef<'_> {
    fn equivalent(&self, key: &SeriesKey) -> bool {
        self.status == key.status && self.path == &*key.path && self.method == key.method
    }
}

impl Default for HttpMetrics {
    /// Creates metrics of the recorder that is installed.
    fn default() -> Self {
        Self(Arc::new(HttpHandles {
            in_progress: HTTP_REQUESTS_IN_PROGRESS.gauge(NO_LABELS),
            overflow: HTTP_SERIES_OVERFLOW.counter(NO_LABELS),
            series: RwLock::default(),
        }))
    }
}

impl HttpMetrics {
    /// Counts a request as in progress until the returned value is dropped.
    pub(crate) fn begin(&self, method: &Method) -> RequestInProgress {
        self.0.in_progress.increment(1);
        RequestInProgress { metrics: self.clone(), method: known_method(method) }
    }

    fn record(&self, method: &'static str, path: &str, status: StatusCode, elapsed: Duration) {
        let wanted = SeriesRef { method, path, status: status.as_u16() };
        let series = self.0.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = series.get(&wanted) {
            return found.record(elapsed);
        }
        let full = series.len() >= MAX_SERIES && path != OVERFLOW;
        drop(series);
        if full {
            self.0.overflow.increment(1);
            return self.record(method, OVERFLOW, status, elapsed);
        }
        let mut series = self.0.series.write().unwrap_or_else(PoisonError::into_inner);
        let key = SeriesKey { method, path: path.into(), status: status.as_u16() };
        series.entry(key).or_insert_with(|| HttpSeries::new(wanted)).record(elapsed);
    }
}

impl HttpSeries {
    fn new(SeriesRef { method, path, status }: SeriesRef<'_>) -> Self {
        Self {
            requests: HTTP_REQUESTS.counter([method.to_owned(), path.to_owned(), status.to_string()]),
            duration: HTTP_REQUEST_DURATION.histogram([method.to_owned(), path.to_owned()]),
        }
    }

    fn record(&self, elapsed: Duration) {
        self.requests.increment(1);
        self.duration.record(elapsed);
    }
}

/// A request whose response has not ended.
#[derive(Debug)]
pub(crate) struct RequestInProgress {
    metrics: HttpMetrics,
    method: &'static str,
}

impl RequestInProgress {
    /// Records the request with the pattern of its route, if it matched one.
    pub(crate) fn finish(self, route: Option<&str>, status: StatusCode, elapsed: Duration) {
        self.metrics.record(self.method, route.unwrap_or(UNMATCHED), status, elapsed);
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.metrics.0.in_progress.decrement(1);
    }
}

/// Returns the method's name, or `_OTHER` for a method that HTTP does not define, as the semantic conventions require.
pub(crate) fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

impl fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpMetrics").finish_non_exhaustive()
    }
}
