//! Errors of calls to models.

use std::{borrow::Cow, time::Duration};

/// The part of a call whose time limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeoutPhase {
    /// No part of the answer had arrived.
    FirstByte,
    /// The provider had sent nothing more for a while.
    Idle,
    /// The whole call took too long.
    Total,
}

/// The kind of a failure, which decides what may be tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LlmErrorKind {
    /// The provider rejected the request, or it can't be expressed in the provider's API.
    InvalidRequest,
    /// The input is longer than the model accepts.
    ContextLength,
    /// The provider's credentials are wrong, or lack a permission.
    Unauthorized,
    /// The account at the provider has no money or no quota left. Waiting does not help.
    QuotaExhausted,
    /// The provider limits the rate of requests or of tokens.
    RateLimited,
    /// The provider is overloaded.
    Overloaded,
    /// The provider has no such model.
    UnknownModel,
    /// The provider does not offer this, such as embeddings.
    NotSupported,
    /// The provider's content filter refused the input or the output.
    ContentFiltered,
    /// A time limit has passed.
    Timeout(TimeoutPhase),
    /// The answer ended before it was complete.
    Interrupted,
    /// The provider failed (5xx).
    Failed,
    /// The provider can't be reached.
    Unreachable,
    /// The answer is not in the form of the provider's API.
    Protocol,
    /// The answer does not match the JSON schema that the request asks for.
    SchemaMismatch,
}

/// The error of a call to a model.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{provider}: {message}")]
#[non_exhaustive]
pub struct LlmError {
    /// The kind.
    pub kind: LlmErrorKind,
    /// The name of the provider.
    pub provider: Cow<'static, str>,
    /// The message of the provider, or a description. It contains no credentials and nothing of the request.
    pub message: String,
    /// The status of the response, if one arrived.
    pub status: Option<u16>,
    /// The provider's code of the error, such as `rate_limit_exceeded`.
    pub code: Option<String>,
    /// The provider's type of the error, such as `invalid_request_error`.
    pub error_type: Option<String>,
    /// The parameter of the request that the provider rejected.
    pub param: Option<String>,
    /// The time after which the provider accepts requests again, if it states one.
    pub retry_after: Option<Duration>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
}

impl LlmError {
    /// Creates an error of a provider.
    pub fn new(kind: LlmErrorKind, provider: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            kind,
            provider: provider.into(),
            message: message.into(),
            status: None,
            code: None,
            error_type: None,
            param: None,
            retry_after: None,
            request_id: None,
        }
    }

    /// Returns whether the same request to the same provider may succeed if it is repeated.
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            LlmErrorKind::RateLimited
                | LlmErrorKind::Overloaded
                | LlmErrorKind::Failed
                | LlmErrorKind::Unreachable
                | LlmErrorKind::Interrupted
                | LlmErrorKind::Protocol
                | LlmErrorKind::Timeout(TimeoutPhase::FirstByte | TimeoutPhase::Idle)
        )
    }

    /// Returns whether another provider or model may succeed with the same request.
    pub const fn allows_fallback(&self) -> bool {
        !matches!(self.kind, LlmErrorKind::InvalidRequest | LlmErrorKind::Timeout(TimeoutPhase::Total))
    }

    /// Returns whether the failure says that the provider is not healthy. A rate limit does not.
    pub const fn is_failure_of_provider(&self) -> bool {
        matches!(
            self.kind,
            LlmErrorKind::Overloaded
                | LlmErrorKind::Failed
                | LlmErrorKind::Unreachable
                | LlmErrorKind::Interrupted
                | LlmErrorKind::Protocol
                | LlmErrorKind::Timeout(_)
        )
    }
}
