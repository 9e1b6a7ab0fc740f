//! Errors of requests, jobs and deliveries, for an observer that counts or reports them.
//!
//! Core observes these errors: responses with a status of 500 or more, responses with a status of 400 to 499 to
//! callers of a tenant, attempts of jobs that failed, and deliveries of events that failed. A module observes them by
//! providing an [`ErrorReporter`]:
//!
//! ```
//! use omnistack_core::{
//!     error_event::{ErrorEvent, ErrorObserver, ErrorReporter},
//!     module::{Module, Registry},
//! };
//!
//! struct PrintErrors;
//!
//! impl ErrorObserver for PrintErrors {
//!     fn observe(&self, event: &ErrorEvent<'_>) {
//!         println!("{} in {:?}", event.code, event.origin);
//!     }
//! }
//!
//! impl Module for PrintErrors {
//!     fn name(&self) -> &'static str {
//!         "print_errors"
//!     }
//!
//!     fn register(&self, registry: &mut Registry) {
//!         registry.provide(ErrorReporter::new(PrintErrors));
//!     }
//! }
//! ```

mod layer;

pub(crate) use layer::ErrorReportLayer;

use std::{error::Error as StdError, fmt, sync::Arc};

use crate::{
    clock::Timestamp,
    identity::{TenantId, UserId},
    run_error::PANICKED,
    trace::TraceContext,
};

/// The origin of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorOrigin<'a> {
    /// A request.
    Request {
        /// The method.
        method: &'a str,
        /// The pattern of the route. `None` if the request matched none.
        route: Option<&'a str>,
        /// The status of the response.
        status: u16,
    },
    /// An attempt of a job.
    Job {
        /// The name of the job.
        name: &'a str,
        /// Whether it was the last attempt, so that the job is dead.
        last: bool,
    },
    /// A delivery of an event.
    Delivery {
        /// The name of the subscriber.
        subscriber: &'a str,
        /// Whether it was the last attempt, so that the delivery is dead.
        last: bool,
    },
}

/// An error that occurred.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ErrorEvent<'a> {
    /// When it occurred.
    pub at: Timestamp,
    /// The request, job or delivery in which it occurred.
    pub origin: ErrorOrigin<'a>,
    /// The error code: that of the response, `JOB_FAILED` or `DELIVERY_FAILED`.
    pub code: &'a str,
    /// The message: that of the response, or the error of the job or delivery. It may contain data of users.
    pub message: &'a str,
    /// The cause of an error response.
    pub source: Option<&'a (dyn StdError + 'static)>,
    /// Whether the code panicked. The observer is then called on the thread that panicked, before another panic.
    pub panicked: bool,
    /// The tenant of the caller, job or event.
    pub tenant: Option<TenantId>,
    /// The caller.
    pub user: Option<UserId>,
    /// The id of the request.
    pub request_id: Option<&'a str>,
    /// The id of the trace: 32 hexadecimal digits.
    pub trace_id: Option<&'a str>,
}

impl<'a> ErrorEvent<'a> {
    /// Creates an event without the optional fields, which can be set on it.
    pub fn new(at: Timestamp, origin: ErrorOrigin<'a>, code: &'a str, message: &'a str) -> Self {
        Self {
            at,
            origin,
            code,
            message,
            source: None,
            panicked: false,
            tenant: None,
            user: None,
            request_id: None,
            trace_id: None,
        }
    }
}

/// An observer of errors. It is called on the task in which the error occurred, so it must be quick.
pub trait ErrorObserver: Send + Sync + 'static {
    /// Receives an error.
    fn observe(&self, event: &ErrorEvent<'_>);
}

/// The observer of an app. Cheap to clone.
#[derive(Clone)]
pub struct ErrorReporter(Arc<dyn ErrorObserver>);

impl ErrorReporter {
    /// Creates a reporter that calls an observer.
    pub fn new(observer: impl ErrorObserver) -> Self {
        Self(Arc::new(observer))
    }

    pub(crate) fn report(&self, event: &ErrorEvent<'_>) {
        self.0.observe(event);
    }

    /// Reports the error of a job or a delivery, in the current trace.
    pub(crate) fn report_background(
        &self,
        origin: ErrorOrigin<'_>,
        code: &str,
        message: &str,
        tenant: Option<TenantId>,
        at: Timestamp,
    ) {
        let trace = TraceContext::current();
        self.report(&ErrorEvent {
            at,
            origin,
            code,
            message,
            source: None,
            panicked: message.starts_with(PANICKED),
            tenant,
            user: None,
            request_id: None,
            trace_id: trace.as_ref().map(TraceContext::trace_id),
        });
    }
}

impl fmt::Debug for ErrorReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorReporter").finish_non_exhaustive()
    }
}
