//! Groups of errors, as they are stored and shown.

use omnistack_core::{
    clock::Timestamp,
    id::Id,
    identity::{TenantId, UserId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Marker type of the ids of error groups: see [`ErrorGroupId`].
#[derive(Clone, Copy, Debug)]
pub enum ErrorGroupMarker {}

/// The id of an error group: the beginning of the hash of its fingerprint. It is the same in all replicas.
pub type ErrorGroupId = Id<ErrorGroupMarker>;

/// The length of an hour, in microseconds.
pub(super) const HOUR_MICROS: i64 = 3_600_000_000;

/// Returns the beginning of the hour of a time, both in microseconds since 1970.
pub(super) const fn hour_of(micros: i64) -> i64 {
    micros - micros.rem_euclid(HOUR_MICROS)
}

macro_rules! stored_names {
    ($vis:vis $type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Returns the name in the database and in JSON.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            pub(super) fn from_stored(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

/// The kind of origin of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorOriginKind {
    /// A request.
    Request,
    /// An attempt of a job.
    Job,
    /// A delivery of an event.
    Delivery,
}

stored_names!(pub ErrorOriginKind { Request => "request", Job => "job", Delivery => "delivery" });

/// The severity of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorSeverity {
    /// The app failed: a response with a status of 500 or more, or a failed job or delivery.
    Error,
    /// The app rejected a request: a response with a status of 400 to 499.
    Warning,
}

stored_names!(pub ErrorSeverity { Error => "error", Warning => "warning" });

/// The status of an error group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorGroupStatus {
    /// First seen in the last 24 hours.
    New,
    /// Seen for longer, and not resolved.
    Open,
    /// Seen again after an operator had resolved it.
    Regressed,
    /// Much more frequent in the current hour than in the hours before.
    Escalating,
    /// An operator has resolved it.
    Resolved,
    /// An operator ignores it. It is counted, but there are no alerts.
    Ignored,
}

stored_names!(pub ErrorGroupStatus {
    New => "new",
    Open => "open",
    Regressed => "regressed",
    Escalating => "escalating",
    Resolved => "resolved",
    Ignored => "ignored",
});

/// The cause that the text of an error shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ErrorSignal)]
pub(crate) enum Signal {
    /// No connection to the database was free in time.
    PoolTimeout,
    /// A row with the same unique value exists (SQLSTATE 23505).
    UniqueViolation,
    /// Two transactions conflicted (SQLSTATE 40001 or 40P01).
    TransactionConflict,
    /// A statement took longer than its timeout (SQLSTATE 57014).
    StatementTimeout,
    /// A provider limited the rate of the app's calls (429).
    UpstreamRateLimit,
    /// A provider failed (a status of 500 or more), or there was no connection to it.
    UpstreamFailure,
    /// A text could not be decoded, such as a payload or a response.
    DecodeFailure,
    /// Credentials were rejected (401).
    Unauthorized,
    /// The app limited the rate of a caller's requests (429).
    RateLimited,
    /// A caller lacks a permission (403).
    Forbidden,
    /// A request was invalid (400 or 422).
    InvalidRequest,
}

stored_names!(pub(crate) Signal {
    PoolTimeout => "pool_timeout",
    UniqueViolation => "unique_violation",
    TransactionConflict => "transaction_conflict",
    StatementTimeout => "statement_timeout",
    UpstreamRateLimit => "upstream_rate_limit",
    UpstreamFailure => "upstream_failure",
    DecodeFailure => "decode_failure",
    Unauthorized => "unauthorized",
    RateLimited => "rate_limited",
    Forbidden => "forbidden",
    InvalidRequest => "invalid_request",
});

/// A group of errors with the same fingerprint.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorGroup {
    /// The id of the group.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: ErrorGroupId,
    /// The fingerprint. Its first number is the version of the rules.
    pub(crate) fingerprint: String,
    /// The kind of origin of the errors.
    pub(crate) origin: ErrorOriginKind,
    /// The error code.
    pub(crate) code: String,
    /// The normalised message of the first error, with placeholders such as `<number>`.
    pub(crate) title: String,
    /// The severity.
    pub(crate) severity: ErrorSeverity,
    /// The status.
    pub(crate) status: ErrorGroupStatus,
    /// The cause that the text of the errors shows; `null` if it shows none.
    #[schema(required)]
    pub(crate) signal: Option<Signal>,
    /// The operator who is responsible for the group; `null` if there is none.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub(crate) assignee: Option<UserId>,
    /// Time of the first error.
    pub(crate) first_seen: Timestamp,
    /// Time of the last error.
    pub(crate) last_seen: Timestamp,
    /// Version of the app in which the first error occurred.
    pub(crate) first_release: String,
    /// Version of the app in which the last error occurred.
    pub(crate) last_release: String,
    /// Number of errors since the first one.
    pub(crate) errors: i64,
    /// Number of affected users, counted up to 10,000.
    pub(crate) affected_users: i64,
    /// Number of affected tenants, counted up to 10,000.
    pub(crate) affected_tenants: i64,
    /// Time at which an operator resolved the group; `null` if it was not resolved.
    #[schema(required)]
    pub(crate) resolved_at: Option<Timestamp>,
}

/// One of the latest errors of a group.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorSample {
    /// Time of the error.
    pub(crate) at: Timestamp,
    /// Method and route pattern of the request, name of the job, or name of the subscriber.
    pub(crate) operation: String,
    /// Tenant of the caller, job or event.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub(crate) tenant: Option<TenantId>,
    /// Version of the app.
    pub(crate) release: String,
    /// Message and causes, at most 1,000 characters, with secrets replaced by `[redacted]`.
    pub(crate) message: String,
    /// Id of the request.
    #[schema(required)]
    pub(crate) request_id: Option<String>,
    /// Id of the trace: 32 hexadecimal digits.
    #[schema(required)]
    pub(crate) trace_id: Option<String>,
}
