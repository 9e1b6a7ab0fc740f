//! The error of handlers, and the format of error responses.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{cache, clock::Timestamp, crypto, db};
use repeats::LogThrottle;

mod repeats;

/// Per process, as the log is.
static REPEATS: LogThrottle = LogThrottle::new();

/// The error of a handler: a status, a stable error code for programs, and a message for people. The cause, if any,
/// is logged once and never sent.
///
/// ```
/// use omnistack_core::http::{Error, StatusCode};
///
/// fn open(seats: u32) -> Result<(), Error> {
///     if seats == 0 {
///         return Err(Error::conflict("NO_SEATS_LEFT", "every seat of the plan is taken").with_detail("seats", 0));
///     }
///     Ok(())
/// }
/// assert_eq!(open(0).unwrap_err().status(), StatusCode::CONFLICT);
/// ```
///
/// The response is JSON, `{"error": {"code", "message", "details", "request_id", "timestamp"}}`, or
/// `application/problem+json` (RFC 9457) if the client asks for it.
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    details: Option<Value>,
    headers: HeaderMap,
    /// The `check` constraint of the database that refused a value, if its name is known.
    check: Option<Box<str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error with a custom code, in `UPPER_SNAKE_CASE`.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        let (code, message) = (code.into(), message.into());
        let headers = HeaderMap::new();
        Self(Box::new(Parts { status, code, message, details: None, headers, check: None, source: None }))
    }

    /// Creates a 400 error: the request can't be read.
    pub fn bad_request(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Creates a 401 `UNAUTHORIZED` error: the caller is not signed in.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// Creates a 403 `FORBIDDEN` error: the caller is signed in, but not allowed.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// Creates a 404 `NOT_FOUND` error: the thing does not exist, or the caller may not see it.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("{what} was not found"))
    }

    /// Creates a 409 error: the request conflicts with the current state.
    pub fn conflict(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// Creates a 422 `VALIDATION_FAILED` error: the request can be read, but has invalid values. Each problem names
    /// its field.
    pub fn invalid(problems: impl IntoIterator<Item = FieldError>) -> Self {
        let problems: Vec<_> = problems.into_iter().collect();
        let message = match problems.as_slice() {
            [only] => format!("`{}` {}", only.field, only.message),
            many => format!("{} values are invalid", many.len()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_FAILED", message).with_detail("fields", problems)
    }

    /// Creates a 503 error with `Retry-After: 1`: the service is temporarily unavailable.
    pub fn unavailable(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Creates a 500 `INTERNAL_ERROR` error. The cause is logged; the client gets only the request id.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "an internal error occurred").with_source(source)
    }

    /// Adds an entry to `details`.
    pub fn with_detail(mut self, key: &str, value: impl Serialize) -> Self {
        let details = self.0.details.get_or_insert_with(|| Value::Object(serde_json::Map::default()));
        details[key] = serde_json::to_value(value).unwrap_or(Value::Null);
        self
    }

    /// Adds a response header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Sets the cause, which is logged and never sent.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Returns the error that a response was made of, for layers and tests; its [`source`](StdError::source) is the cause
    /// that is never sent. Returns `None` if the response was made of no `Error`, or has come over a connection.
    ///
    /// ```
    /// use std::error::Error as _;
    ///
    /// use axum::response::IntoResponse as _;
    /// use omnistack_core::http::Error;
    ///
    /// let response = Error::internal("the disk is full").into_response();
    /// let error = Error::of_response(&response).unwrap();
    /// assert_eq!(error.source().unwrap().to_string(), "the disk is full");
    /// ```
    pub fn of_response(response: &Response) -> Option<&Self> {
        response.extensions().get::<RenderableError>().map(|RenderableError(error)| error.as_ref())
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns the error code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Logs the cause. During an outage all requests fail with the same code: then one error per second and code is
    /// logged, with the number of errors that were not logged. Errors with status 500 are all logged.
    fn log(&self) {
        let is_passing = self.0.status != StatusCode::INTERNAL_SERVER_ERROR;
        let alike = if is_passing { REPEATS.should_log(&self.0.code) } else { Some(0) };
        let Some(alike) = alike else { return };
        let source = self.0.source.as_deref().map(tracing::field::display);
        let caused_by = self.0.source.as_deref().and_then(StdError::source).map(tracing::field::display);
        let alike = (alike > 0).then_some(alike);
        tracing::error!(target: "omnistack::http", code = %self.0.code, cause = source, caused_by, alike, "{}", self.0.message);
    }

    fn body(&self, request_id: Option<&str>, now: Option<Timestamp>) -> ErrorBody {
        let parts = &self.0;
        ErrorBody {
            code: parts.code.to_string(),
            message: parts.message.to_string(),
            details: parts.details.clone(),
            request_id: request_id.map(Into::into),
            timestamp: now,
        }
    }

    /// Returns the error with the name of the `check` constraint that refused a value in `details`, if there is one: in
    /// production, clients don't see it.
    pub(crate) fn naming_check(self: Arc<Self>) -> Arc<Self> {
        match &self.0.check {
            Some(check) => {
                let check = check.clone();
                Arc::new(Self(self.0.clone()).with_detail("constraint", check))
            }
            None => self,
        }
    }

    /// Returns the response, with the request id and the time.
    pub(crate) fn render(&self, form: ErrorFormat, request_id: Option<&str>, now: Option<Timestamp>) -> Response {
        let parts = &self.0;
        let (body, content_type) = match form {
            ErrorFormat::Envelope => {
                (serde_json::to_vec(&ErrorEnvelope { error: self.body(request_id, now) }), "application/json")
            }
            ErrorFormat::Protocol(form) => {
                let body = (form.render)(parts.status, self.body(request_id, now));
                (serde_json::to_vec(&body), "application/json")
            }
            ErrorFormat::Problem => {
                let problem = ProblemDetails {
                    kind: "about:blank".into(),
                    title: parts.status.canonical_reason().map(Into::into),
                    status: parts.status.as_u16(),
                    detail: parts.message.to_string(),
                    code: parts.code.to_string(),
                    details: parts.details.clone(),
                    request_id: request_id.map(Into::into),
                    timestamp: now,
                };
                (serde_json::to_vec(&problem), "application/problem+json")
            }
        };
        let mut response = (parts.status, body.unwrap_or_default()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.extend(parts.headers.clone());
        response
    }
}

/// Format of an error response.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ErrorFormat {
    /// JSON with the member `error`.
    Envelope,
    /// Problem details (RFC 9457).
    Problem,
    /// The form of a protocol.
    Protocol(ErrorForm),
}

/// The form of error bodies that a protocol fixes, for the routes of a [`Mount`](crate::module::Mount::error_form): the
/// errors of the handlers and those of the app's layers, such as 401, 413 and 429.
///
/// ```
/// use omnistack_core::http::{ErrorBody, ErrorForm, StatusCode};
/// use serde_json::{Value, json};
///
/// fn render(status: StatusCode, error: ErrorBody) -> Value {
///     json!({ "fault": { "status": status.as_u16(), "text": error.message } })
/// }
///
/// // `Fault` is the name of the schema of these bodies in the OpenAPI document.
/// const FAULTS: ErrorForm = ErrorForm::new("Fault", render);
/// # let _ = FAULTS;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ErrorForm {
    pub(crate) schema: &'static str,
    pub(crate) render: fn(StatusCode, ErrorBody) -> Value,
}

impl ErrorForm {
    /// Creates a form. `schema` is the name of the schema of the bodies, which the handlers add to the OpenAPI document
    /// as the body of a response.
    pub const fn new(schema: &'static str, render: fn(StatusCode, ErrorBody) -> Value) -> Self {
        Self { schema, render }
    }
}

/// A field with an invalid value, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Path of the field: `address.city`, `items[2].name`.
    pub field: String,
    /// The problem with the value. It is read after the field's name.
    pub message: String,
}

impl FieldError {
    /// Creates a problem of a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Body of an error response.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ApiError)]
pub struct ErrorEnvelope {
    /// The error.
    pub error: ErrorBody,
}

/// The error of a response.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Error code for programs. It is stable.
    #[schema(examples("VALIDATION_FAILED"))]
    pub code: String,
    /// Message for people. Its wording may change.
    #[schema(examples("`name` length is lower than 1"))]
    pub message: String,
    /// More about the error. For validation errors, `fields` lists each problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Object>)]
    pub details: Option<Value>,
    /// Id of the request. Include it in support requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_id: Option<String>,
    /// Time of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub timestamp: Option<Timestamp>,
}

/// Body of an error response as problem details (RFC 9457, section 3).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDetails {
    /// Always `about:blank`: `code` identifies the error.
    #[serde(rename = "type")]
    kind: String,
    /// Reason phrase of the status.
    #[schema(required)]
    title: Option<String>,
    /// HTTP status.
    status: u16,
    /// Message for people. Its wording may change.
    detail: String,
    /// Error code for programs. It is stable.
    code: String,
    /// More about the error. For validation errors, `fields` lists each problem.
    #[schema(required, value_type = Option<Object>)]
    details: Option<Value>,
    /// Id of the request. Include it in support requests.
    #[schema(required)]
    request_id: Option<String>,
    /// Time of the error.
    #[schema(required)]
    timestamp: Option<Timestamp>,
}

/// The error in the extensions of its response, so that [`ErrorLayer`](super::layer::ErrorLayer) can render it for
/// the request.
#[derive(Clone)]
pub(crate) struct RenderableError(pub(crate) Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.0.status.is_server_error() {
            self.log();
        }
        let mut response = self.render(ErrorFormat::Envelope, None, None);
        response.extensions_mut().insert(RenderableError(Arc::new(self)));
        response
    }
}

/// 500, because the client can't solve the problem.
impl From<crypto::Error> for Error {
    fn from(error: crypto::Error) -> Self {
        Self::internal(error)
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        let check = violated_check(&error);
        from_database_error(error.kind(), check, error)
    }
}

/// Converts the error for a caller that waited for a shared computation, which failed.
impl From<Arc<db::Error>> for Error {
    fn from(error: Arc<db::Error>) -> Self {
        let check = violated_check(&error);
        from_database_error(error.kind(), check, error)
    }
}

/// Converts the error for a caller that waited for a shared computation, which failed.
impl From<Arc<Error>> for Error {
    fn from(error: Arc<Error>) -> Self {
        Self(error.0.clone())
    }
}

impl From<cache::Error> for Error {
    fn from(error: cache::Error) -> Self {
        use cache::ErrorKind as K;
        match error.kind() {
            K::Unavailable | K::Unknown => {
                Self::unavailable("CACHE_UNAVAILABLE", "the cache is not available; try again").with_source(error)
            }
            K::WrongType | K::Other => Self::internal(error),
        }
    }
}

/// Returns the name of the `check` constraint that refused a value.
fn violated_check(error: &db::Error) -> Option<Box<str>> {
    error.constraint().filter(|_| error.kind() == db::ErrorKind::Check).map(Into::into)
}

fn from_database_error(
    kind: db::ErrorKind,
    check: Option<Box<str>>,
    error: impl Into<Box<dyn StdError + Send + Sync>>,
) -> Error {
    use db::ErrorKind as K;
    let mut answer = match kind {
        K::NotFound => Error::not_found("the record"),
        K::Unique => Error::conflict("ALREADY_EXISTS", "a record with the same unique value exists"),
        K::ForeignKey => Error::conflict(
            "REFERENCE_CONFLICT",
            "the record refers to a record that does not exist, or is still in use",
        ),
        K::Check | K::NotNull | K::InvalidValue => {
            Error::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_VALUE", "one of the values can't be stored")
        }
        K::Conflict => {
            Error::unavailable("CONCURRENT_UPDATE", "another request changed the same data at the same time; try again")
        }
        K::Timeout => Error::unavailable("DATABASE_TIMEOUT", "the database took too long; try again"),
        K::Unavailable => Error::unavailable("DATABASE_UNAVAILABLE", "the database is not available; try again"),
        K::Schema | K::Configuration | K::Other => return Error::internal(error),
    };
    answer.0.check = check;
    answer.with_source(error)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.0.status.as_u16(), self.0.code, self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("status", &self.0.status)
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
