//! Extractors of the query string and of path parameters.

use std::collections::BTreeSet;

use axum::extract::{
    FromRequestParts,
    path::{ErrorKind as PathError, FailedToDeserializePathParams},
    rejection::PathRejection,
};
use garde::Validate;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::{Error, FieldError, json::validate};

/// Extractor of the query string, which validates the value and rejects unknown parameters.
///
/// # Errors
/// Fails with 400 for text that is not UTF-8 or contains NUL; with 422 for an unknown or repeated parameter, a value
/// of the wrong type, or a value that `garde` rejects. Each 422 names the parameter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<T>(pub T);

impl<S, T> FromRequestParts<S> for Query<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate<Context: Default>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        check_url_text(query)?;
        let mut unknown = BTreeSet::new();
        let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        let mut track = serde_path_to_error::Track::new();
        let reader = serde_path_to_error::Deserializer::new(reader, &mut track);
        let value: Result<T, _> = serde_ignored::deserialize(reader, |path| _ = unknown.insert(path.to_string()));
        let value = value.map_err(|error| {
            Error::invalid([field_problem("query", &track.path().to_string(), error.to_string().trim_end())])
        })?;
        if !unknown.is_empty() {
            let problems = unknown.into_iter().map(|name| FieldError::new(name, "is not a parameter of this route"));
            return Err(Error::invalid(problems));
        }
        validate(&value)?;
        Ok(Self(value))
    }
}

/// Extractor of the path parameters, by the names in the route.
///
/// # Errors
/// Fails with 422 for a value of the wrong type, and with 400 for text that is not UTF-8 or contains NUL.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<S, T> FromRequestParts<S> for Path<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        check_url_text(parts.uri.path())?;
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(rejection)) if rejection.status().is_client_error() => {
                Err(Error::invalid([path_problem(&rejection)]))
            }
            Err(rejection) => Err(Error::internal(rejection)),
        }
    }
}

/// Returns the problem, with the name of the parameter if axum provides it.
fn path_problem(rejection: &FailedToDeserializePathParams) -> FieldError {
    match rejection.kind() {
        PathError::DeserializeError { key, message, .. } => FieldError::new(key, message),
        PathError::ParseErrorAtKey { key, expected_type, .. } => {
            FieldError::new(key, format!("must be a {expected_type}"))
        }
        _ => FieldError::new("path", rejection.body_text()),
    }
}

/// Checks that a URL's text decodes to UTF-8 without NUL, which PostgreSQL can't store.
pub(crate) fn check_url_text(text: &str) -> Result<(), Error> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) if !decoded.contains('\0') => Ok(()),
        Ok(_) => Err(Error::bad_request("MALFORMED_URL", "the URL contains the character NUL (%00)")),
        Err(_) => Err(Error::bad_request("MALFORMED_URL", "the URL is not valid UTF-8 when decoded")),
    }
}

/// Returns the problem of a serde error. In the messages ``missing field `name` `` and ``duplicate field `name` ``
/// serde names a field of the value at `path`; other messages are about the value at `path`, which is `.` for
/// `whole`.
pub(super) fn field_problem(whole: &str, path: &str, message: &str) -> FieldError {
    let within = |name: &str| {
        if path == "." { name.to_owned() } else { format!("{path}.{name}") }
    };
    let named = message.split('`').nth(1).filter(|_| message.contains(" field `"));
    match named {
        Some(name) if message.starts_with("missing") => FieldError::new(within(name), "is required"),
        Some(name) if message.starts_with("duplicate") => FieldError::new(within(name), "is given more than once"),
        _ => FieldError::new(if path == "." { whole } else { path }, message),
    }
}
