//! The one form of every error.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{cache, clock::Timestamp, db};
use repeats::Repeats;

mod repeats;

/// Of the process, as the log is.
static REPEATS: Repeats = Repeats::new();

/// What a handler returns when it can't do what was asked: a status, a stable code for programs, and a message for
/// people. The cause, if any, is logged once and never sent.
///
/// ```
/// use omnistack_core::http::{Error, StatusCode};
///
/// fn open(seats: u32) -> Result<(), Error> {
///     if seats == 0 {
///         return Err(Error::conflict("NO_SEATS_LEFT", "every seat of the plan is taken").detail("seats", 0));
///     }
///     Ok(())
/// }
/// assert_eq!(open(0).unwrap_err().status(), StatusCode::CONFLICT);
/// ```
///
/// It answers as JSON, `{"error": {"code", "message", "details", "request_id", "timestamp"}}`, or as
/// `application/problem+json` (RFC 9457) to a client that asks for it.
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    details: Option<Value>,
    headers: HeaderMap,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a code of your own, in `UPPER_SNAKE_CASE`.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        let (code, message) = (code.into(), message.into());
        Self(Box::new(Parts { status, code, message, details: None, headers: HeaderMap::new(), source: None }))
    }

    /// 400: the request can't be read.
    pub fn bad_request(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 401: nobody is signed in.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403: signed in, but not allowed.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// 404: no such thing, or not the caller's to see.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("{what} was not found"))
    }

    /// 409: it conflicts with what is there.
    pub fn conflict(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 422: readable, but not acceptable. Each problem names the field it is about.
    pub fn invalid(problems: impl IntoIterator<Item = FieldProblem>) -> Self {
        let problems: Vec<_> = problems.into_iter().collect();
        let message = match problems.as_slice() {
            [only] => format!("`{}` {}", only.field, only.message),
            many => format!("{} values are not acceptable", many.len()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_FAILED", message).detail("fields", problems)
    }

    /// 503: not now; `Retry-After` says when.
    pub fn unavailable(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 500: our fault. The cause is logged; the client learns only the request id.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "something went wrong on our side").cause(source)
    }

    /// Adds one entry to `details`.
    pub fn detail(mut self, key: &str, value: impl Serialize) -> Self {
        let details = self.0.details.get_or_insert_with(|| Value::Object(serde_json::Map::default()));
        details[key] = serde_json::to_value(value).unwrap_or(Value::Null);
        self
    }

    /// Adds a response header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Keeps what caused it for the log.
    pub fn cause(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// The status it answers with.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Logs the cause. While something is away every request fails alike: one of them a second is logged, with how many were
    /// not since. A 500 is a fault of its own each time.
    fn log(&self) {
        let is_passing = self.0.status != StatusCode::INTERNAL_SERVER_ERROR;
        let alike = if is_passing { REPEATS.admit(&self.0.code) } else { Some(0) };
        let Some(alike) = alike else { return };
        let source = self.0.source.as_deref().map(tracing::field::display);
        let caused_by = self.0.source.as_deref().and_then(StdError::source).map(tracing::field::display);
        let alike = (alike > 0).then_some(alike);
        tracing::error!(target: "omnistack::http", code = %self.0.code, cause = source, caused_by, alike, "{}", self.0.message);
    }

    /// The body, with what only the request knows.
    pub(crate) fn render(&self, form: ErrorForm, request_id: Option<&str>, now: Option<Timestamp>) -> Response {
        let parts = &self.0;
        let (body, content_type) = match form {
            ErrorForm::Envelope => {
                let body = ErrorBody {
                    code: parts.code.to_string(),
                    message: parts.message.to_string(),
                    details: parts.details.clone(),
                    request_id: request_id.map(Into::into),
                    timestamp: now,
                };
                (serde_json::to_vec(&ErrorEnvelope { error: body }), "application/json")
            }
            ErrorForm::Problem => {
                let problem = serde_json::json!({
                    "type": "about:blank",
                    "title": parts.status.canonical_reason(),
                    "status": parts.status.as_u16(),
                    "detail": parts.message,
                    "code": parts.code,
                    "details": parts.details,
                    "request_id": request_id,
                    "timestamp": now,
                });
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

/// How a client wants its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorForm {
    /// Ours.
    Envelope,
    /// RFC 9457.
    Problem,
}

/// One field that is not acceptable, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// Path of the field: `address.city`, `items[2].name`.
    pub field: String,
    /// What is wrong, to be read after the field's name.
    pub message: String,
}

impl FieldProblem {
    /// Names a field and what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// The body of an error answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorEnvelope {
    /// The error.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Stable and meant for programs: `RATE_LIMIT_EXCEEDED`.
    #[schema(examples("VALIDATION_FAILED"))]
    pub code: String,
    /// For people; its wording may change.
    #[schema(examples("`name` length is lower than 1"))]
    pub message: String,
    /// More about it; for validation, `fields` lists each problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub details: Option<Value>,
    /// Quote it when asking for help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

/// Left in the response's extensions, so that the layer that knows the request renders it again.
#[derive(Clone)]
pub(crate) struct Rendered(pub(crate) Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.0.status.is_server_error() {
            self.log();
        }
        let mut response = self.render(ErrorForm::Envelope, None, None);
        response.extensions_mut().insert(Rendered(Arc::new(self)));
        response
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        of_database(error.kind(), error)
    }
}

/// As one that waited for what another computed in vain gets it.
impl From<Arc<db::Error>> for Error {
    fn from(error: Arc<db::Error>) -> Self {
        of_database(error.kind(), error)
    }
}

/// As one that waited for what another computed in vain gets it.
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
                Self::unavailable("CACHE_UNAVAILABLE", "the cache is not available; try again").cause(error)
            }
            K::WrongType | K::Other => Self::internal(error),
        }
    }
}

fn of_database(kind: db::ErrorKind, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    use db::ErrorKind as K;
    match kind {
        K::NotFound => Error::not_found("it"),
        K::Unique => Error::conflict("ALREADY_EXISTS", "a record with the same unique value exists"),
        K::ForeignKey => {
            Error::conflict("REFERENCE_CONFLICT", "it refers to a record that is not there, or is still in use")
        }
        K::Check | K::NotNull | K::InvalidValue => {
            Error::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_VALUE", "the database can't hold one of the values")
        }
        K::Conflict => {
            Error::unavailable("CONCURRENT_UPDATE", "somebody else changed it at the same moment; try again")
        }
        K::Timeout => Error::unavailable("DATABASE_TIMEOUT", "the database took too long; try again"),
        K::Unavailable => Error::unavailable("DATABASE_UNAVAILABLE", "the database is not available; try again"),
        K::Schema | K::Configuration | K::Other => return Error::internal(error),
    }
    .cause(error)
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

/// The schema of an error as RFC 9457, section 3.
pub(crate) fn problem_schema() -> utoipa::openapi::Schema {
    use utoipa::openapi::{
        ObjectBuilder, Schema,
        schema::{SchemaType, Type},
    };
    let text = |optional: bool| {
        let kinds =
            if optional { SchemaType::from_iter([Type::String, Type::Null]) } else { SchemaType::Type(Type::String) };
        ObjectBuilder::new().schema_type(kinds)
    };
    let problem = ObjectBuilder::new()
        .description(Some("RFC 9457"))
        .property("type", text(false))
        .required("type")
        .property("title", text(true))
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .required("status")
        .property("detail", text(false))
        .property("code", text(false))
        .required("code")
        .property("details", ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Object, Type::Null])))
        .property("request_id", text(true))
        .property("timestamp", text(true));
    Schema::Object(problem.build())
}
