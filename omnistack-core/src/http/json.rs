//! JSON bodies.

mod objects_only;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use garde::Validate;
use http::{StatusCode, header};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, schema::Type},
};

use super::{Error, FieldError, extract::field_problem, header_parts};
use crate::schema::ComposeSchema;
use objects_only::ObjectsOnly;

/// A JSON body. As an extractor, it validates the value; as a response, it serializes the value.
///
/// # Errors
/// Fails with 415 without a JSON `Content-Type`; with 413 beyond the route's limit; with 400 for a body that is not
/// JSON (nested deeper than 128 levels included) or not UTF-8; with 422 for JSON of another shape, for values that
/// `garde` rejects, and for `\u0000`, which PostgreSQL can't store. Every 422 names the field.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

impl<S, T> FromRequest<S> for Json<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate<Context: Default>,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        if !is_json(&request) {
            let message = "send the body as `Content-Type: application/json`";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message));
        }
        let body = Bytes::from_request(request, state).await?;
        let value: T = read(&body)?;
        validate(&value)?;
        Ok(Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Error::internal(error).into_response(),
        }
    }
}

impl<T: PartialSchema> PartialSchema for Json<T> {
    fn schema() -> RefOr<Schema> {
        T::schema()
    }
}

impl<T: ToSchema> ToSchema for Json<T> {
    fn name() -> std::borrow::Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

fn is_json(request: &Request) -> bool {
    let essence = header_parts(request.headers(), &header::CONTENT_TYPE, b';').next();
    let essence = essence.unwrap_or_default().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

impl From<BytesRejection> for Error {
    /// Returns 413 `PAYLOAD_TOO_LARGE` for a body beyond the route's limit, and 400 `INCOMPLETE_BODY` for a body that
    /// ended early or arrived too slowly.
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE { too_large() } else { body_error(&rejection) }
    }
}

/// Returns the error for a body that could not be read: 413 if a limit cut it, else 400.
pub(crate) fn body_error(error: &(dyn std::error::Error + 'static)) -> Error {
    if is_too_large(error) {
        return too_large();
    }
    Error::bad_request("INCOMPLETE_BODY", "the body ended before it was complete")
}

/// Returns whether a limit cut the body, at any depth of the error's sources.
pub(super) fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

pub(crate) fn too_large() -> Error {
    let message = "the body is larger than this route accepts";
    Error::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    if contains_nul(body) {
        return Err(Error::invalid([FieldError::new(
            "body",
            "contains the character NUL (\\u0000), which can't be stored",
        )]));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(ObjectsOnly(&mut reader)).map_err(|error| {
        let path = error.path().to_string();
        json_error(&path, error.inner())
    })?;
    reader.end().map_err(|error| json_error(".", &error))?;
    Ok(value)
}

fn json_error(path: &str, error: &serde_json::Error) -> Error {
    if error.is_data() {
        return Error::invalid([field_problem("body", path, &without_position(error))]);
    }
    Error::bad_request("MALFORMED_JSON", format!("the body is not valid JSON: {error}"))
}

/// Returns the message without ` at line 1 column 7`, which adds little to a field's name.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&position).unwrap_or(&message).to_owned()
}

/// Returns whether a JSON text contains the escape `\u0000`. The parser rejects a raw NUL.
fn contains_nul(body: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = body[at..].iter().position(|byte| *byte == b'\\') {
        let escape = &body[at + found + 1..];
        if escape.starts_with(b"u0000") {
            return true;
        }
        // Skips the escaped character, so that `\\u0000` is read as a backslash and text.
        at += found + 2;
        if at >= body.len() {
            break;
        }
    }
    false
}

/// Validates a value with `garde`. Fails with 422 and names every invalid field.
pub(crate) fn validate<T: Validate<Context: Default>>(value: &T) -> Result<(), Error> {
    value.validate().map_err(|report| {
        Error::invalid(report.iter().map(|(path, error)| {
            let field = path.to_string();
            FieldError::new(if field.is_empty() { "body" } else { &field }, error.to_string())
        }))
    })
}

/// A field of a partial update: an absent field leaves the value unchanged, `null` clears it.
///
/// ```
/// use omnistack_core::http::Patch;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Update {
///     #[serde(default)]
///     note: Patch<String>,
/// }
/// let read = |text| serde_json::from_str::<Update>(text).unwrap().note;
/// assert_eq!(read("{}"), Patch::Absent);
/// assert_eq!(read(r#"{"note": null}"#), Patch::Null);
/// assert_eq!(read(r#"{"note": "hi"}"#), Patch::Value("hi".to_owned()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field is absent.
    #[default]
    Absent,
    /// The field is `null`: the value is cleared.
    Null,
    /// The new value.
    Value(T),
}

impl<T> Patch<T> {
    /// Returns `None` if the field is absent, else the value to store.
    pub fn into_nested_option(self) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// `#[garde(dive)]` validates the value, if there is one.
impl<T: Validate> Validate for Patch<T> {
    type Context = T::Context;

    fn validate_into(
        &self,
        context: &Self::Context,
        parent: &mut dyn FnMut() -> garde::Path,
        report: &mut garde::Report,
    ) {
        if let Self::Value(value) = self {
            value.validate_into(context, parent, report);
        }
    }
}

/// `#[garde(inner(length(max = 100)))]` validates the value, if there is one.
impl<T> garde::rules::inner::Inner<T> for Patch<T> {
    type Key = garde::error::NoKey;

    fn validate_inner<F: FnMut(&T, &Self::Key)>(&self, mut validate: F) {
        if let Self::Value(value) = self {
            validate(value, &garde::error::NoKey::default());
        }
    }
}

/// Required by `#[derive(ToSchema)]` for fields whose type has parameters.
impl<T: PartialSchema> ComposeSchema for Patch<T> {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        let null = ObjectBuilder::new().schema_type(Type::Null);
        OneOfBuilder::new().item(T::schema()).item(null).into()
    }
}

impl<T: ToSchema> ToSchema for Patch<T> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use super::contains_nul;

    #[test]
    fn nul_is_found_only_as_an_escape_of_its_own() {
        for (text, expected) in [
            (r#"{"a":"\u0000"}"#, true),
            (r#"{"a":"\\\u0000"}"#, true),
            (r#"{"a":"\\u0000"}"#, false),
            (r#"{"a":"\u00001"}"#, true),
            (r#"{"a":"\\"#, false),
            (r#"{"a":"u0000"}"#, false),
        ] {
            assert_eq!(contains_nul(text.as_bytes()), expected, "{text}");
        }
    }
}
