//! The layer that reports the errors of requests.

use std::error::Error as StdError;

use http::Method;

use super::{ErrorEvent, ErrorOrigin, ErrorReporter};
use crate::{
    clock::Clock,
    http::{
        Error, RenderableError, Request, Response,
        layer::{MatchedRoute, Panicked, RequestHook, RequestId, ResponseHook},
    },
    identity::ErrorCaller,
    metrics::ERRORS,
    trace::TraceContext,
};

/// A layer that reports error responses with a status of 500 or more, and all error responses to callers of a tenant.
/// It is outside of [`ErrorLayer`](crate::http::layer::ErrorLayer), which leaves the error in the response's
/// extensions.
#[derive(Clone, Debug)]
pub struct ErrorReportLayer {
    clock: Clock,
    reporter: Option<ErrorReporter>,
}

impl ErrorReportLayer {
    pub(crate) fn new(clock: Clock, reporter: Option<ErrorReporter>) -> Self {
        Self { clock, reporter }
    }
}

impl RequestHook for ErrorReportLayer {
    type After = ReportError;

    fn request(&self, request: &mut Request) -> Result<ReportError, Response> {
        let report = self.reporter.as_ref().map(|reporter| Report {
            reporter: reporter.clone(),
            clock: self.clock.clone(),
            method: request.method().clone(),
            id: request.extensions().get::<RequestId>().cloned(),
        });
        Ok(ReportError(report))
    }
}

/// The hook that reports the response if it is an error.
#[derive(Debug)]
pub struct ReportError(Option<Report>);

#[derive(Debug)]
struct Report {
    reporter: ErrorReporter,
    clock: Clock,
    method: Method,
    id: Option<RequestId>,
}

impl ResponseHook for ReportError {
    fn response(self, response: &mut Response) {
        let status = response.status();
        if status.is_server_error() {
            ERRORS.counter(["request"]).increment(1);
        }
        if let (true, Some(report)) = (status.is_server_error() || status.is_client_error(), self.0)
            && let Some(RenderableError(error)) = response.extensions().get()
        {
            report.send(error, response);
        }
    }
}

impl Report {
    fn send(&self, error: &Error, response: &Response) {
        let caller = response.extensions().get::<ErrorCaller>().copied().unwrap_or_default();
        if !error.status().is_server_error() && caller.tenant.is_none() {
            return;
        }
        let trace = TraceContext::current();
        let route = response.extensions().get::<MatchedRoute>();
        let source = StdError::source(error);
        self.reporter.report(&ErrorEvent {
            at: self.clock.now(),
            origin: ErrorOrigin::Request {
                method: self.method.as_str(),
                route: route.map(MatchedRoute::as_str),
                status: error.status().as_u16(),
            },
            code: error.code(),
            message: error.message(),
            source,
            panicked: source.is_some_and(|source| source.is::<Panicked>()),
            tenant: caller.tenant,
            user: caller.user,
            request_id: self.id.as_ref().map(RequestId::as_str),
            trace_id: trace.as_ref().map(TraceContext::trace_id),
        });
    }
}
