//! Rendering of errors.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    response::IntoResponse as _,
};
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{RequestHook, RequestId, ResponseHook, step_layer};
use crate::{
    clock::Clock,
    http::{Error, ErrorForm, ErrorFormat, RenderableError, Request, Response, prefers},
};

/// Layer that renders errors in the format that the client asks for, with the request id and the time. It also turns
/// error responses from outside this crate, such as the plain text of an axum rejection or an empty 405, into an
/// [`Error`].
///
/// An error response that already has a format (JSON, HTML) is left unchanged. The text of a 4xx response becomes the
/// message; the text of a 5xx response is not shown.
#[derive(Clone, Debug)]
pub struct ErrorLayer {
    clock: Clock,
    forms: ErrorForms,
    names_checks: bool,
}

/// The forms of errors that protocols fix, by path prefix. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErrorForms(Arc<[(String, ErrorForm)]>);

impl ErrorForms {
    pub(crate) fn new(forms: impl IntoIterator<Item = (String, ErrorForm)>) -> Self {
        let mut forms: Vec<_> = forms.into_iter().collect();
        // The form of the longest prefix counts.
        forms.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self(forms.into())
    }

    /// Returns the form for a path.
    fn at(&self, path: &str) -> Option<ErrorForm> {
        let below =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.0.iter().find(|(prefix, _)| below(prefix)).map(|(_, form)| *form)
    }
}

impl ErrorLayer {
    /// Creates a layer that takes the time of errors from `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, forms: ErrorForms::default(), names_checks: false }
    }

    /// Sets whether `details.constraint` names the `check` constraint of the database that refused a value. It is for
    /// development and tests; the default is no.
    #[must_use]
    pub fn name_checks(mut self, names_checks: bool) -> Self {
        self.names_checks = names_checks;
        self
    }

    /// Renders the errors of some paths in the forms that protocols fix.
    pub(crate) fn forms(mut self, forms: ErrorForms) -> Self {
        self.forms = forms;
        self
    }
}

step_layer!(ErrorLayer);

impl RequestHook for ErrorLayer {
    type After = RenderError;

    fn request(&self, request: &mut Request) -> Result<RenderError, Response> {
        let id = request.extensions().get::<RequestId>().cloned();
        let form = self.forms.at(request.uri().path());
        let form = form.map_or_else(|| requested_format(request), ErrorFormat::Protocol);
        Ok(RenderError { form, id, clock: self.clock.clone(), names_checks: self.names_checks })
    }
}

/// The hook that renders the response if it is an error.
#[derive(Debug)]
pub struct RenderError {
    form: ErrorFormat,
    id: Option<RequestId>,
    clock: Clock,
    names_checks: bool,
}

impl ResponseHook for RenderError {
    fn response(self, response: &mut Response) {
        let status = response.status();
        if !(status.is_client_error() || status.is_server_error()) {
            return;
        }
        let error = match response.extensions_mut().remove::<RenderableError>() {
            Some(rendered) => rendered.0,
            None if is_unformatted(response) => Error::new(status, code(status), message(response)).into(),
            None => return,
        };
        let error = if self.names_checks { error.naming_check() } else { error };
        let id = self.id.as_ref().map(RequestId::as_str);
        let rendered = error.render(self.form, id, Some(self.clock.now()));
        let (parts, body) = rendered.into_parts();
        *response.body_mut() = body;
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.extend(parts.headers);
        headers.append(header::VARY, HeaderValue::from_static("accept"));
        response.extensions_mut().insert(RenderableError(error));
    }
}

/// Returns the format that the client prefers.
fn requested_format(request: &Request) -> ErrorFormat {
    let asked = prefers(request.headers(), "application/problem+json", "application/json");
    if asked { ErrorFormat::Problem } else { ErrorFormat::Envelope }
}

fn is_unformatted(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

/// Returns the error code of a status, such as `METHOD_NOT_ALLOWED` for `Method Not Allowed`.
fn code(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    reason
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' })
        .collect()
}

fn message(response: &mut Response) -> String {
    let status = response.status();
    let body = std::mem::replace(response.body_mut(), Body::empty());
    // The text of a rejection is ready at once; a body that is not is something else.
    let text = to_bytes(body, 4096).now_or_never().and_then(Result::ok);
    let text = text.and_then(|text| String::from_utf8(text.into()).ok()).filter(|text| !text.is_empty());
    match text {
        Some(text) if status.is_client_error() => text,
        _ => match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                "this route does not support the method; `Allow` lists the supported methods".into()
            }
            _ => status.canonical_reason().unwrap_or("Error").to_lowercase(),
        },
    }
}

/// Returns the 404 response for a path without a route.
pub(crate) async fn no_such_route(uri: http::Uri) -> Response {
    let message = format!("no route matches {}", uri.path());
    let mut response = Error::new(StatusCode::NOT_FOUND, "NOT_FOUND", message).into_response();
    response.headers_mut().remove(HeaderName::from_static("allow"));
    response
}
