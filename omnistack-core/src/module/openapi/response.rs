//! Completion of the responses and bodies of an operation, where its handler describes less.

use http::StatusCode;
use utoipa::{
    ToSchema as _,
    openapi::{
        Content, KnownFormat, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, SchemaFormat,
        path::Operation,
        schema::{Schema, Type},
    },
};

use crate::http::{ErrorEnvelope, ErrorForm, ProblemDetails};

/// Name of the response component of every error.
pub(crate) const ERROR_RESPONSE: &str = "ApiError";

/// Returns the response component of errors, in both formats.
pub(crate) fn error_component() -> Response {
    let content = |name| Content::new(Some(Ref::from_schema_name(name)));
    ResponseBuilder::new()
        .description("An error, in the format of all errors.")
        .content("application/json", content(ErrorEnvelope::name()))
        .content("application/problem+json", content(ProblemDetails::name()))
        .build()
}

/// Returns a reference to the error component, with a description if it is not empty.
pub(crate) fn error(description: &str) -> RefOr<Response> {
    let mut reference = Ref::from_response_name(ERROR_RESPONSE);
    description.clone_into(&mut reference.description);
    reference.into()
}

/// Returns the response of an error in the form of a protocol.
pub(crate) fn error_in_form(form: ErrorForm, description: &str) -> RefOr<Response> {
    let content = Content::new(Some(Ref::from_schema_name(form.schema)));
    ResponseBuilder::new().description(description).content("application/json", content).build().into()
}

/// Completes the responses of an operation, and the types of its bodies.
pub(crate) fn complete_operation(operation: &mut Operation) {
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.iter_mut().for_each(|(kind, content)| describe_bytes(kind, content));
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(answer) = response else { continue };
        if is_error(status) && answer.headers.is_empty() && answer.content.values().all(is_error_envelope) {
            *response = error(&answer.description);
            continue;
        }
        if answer.description.is_empty() {
            answer.description = reason(status);
        }
        answer.content.iter_mut().for_each(|(kind, content)| describe_bytes(kind, content));
        if answer.content.contains_key(ANY) && !answer.content.contains_key(BYTES) {
            // `*/*` matches a file, but code generators ignore it.
            answer.content.insert(BYTES.into(), Content::new(Some(bytes())).into());
        }
    }
}

const ANY: &str = "*/*";
const BYTES: &str = "application/octet-stream";

fn is_error(status: &str) -> bool {
    status == "default" || status.starts_with(['4', '5'])
}

fn is_error_envelope(content: &RefOr<Content>) -> bool {
    let RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) = content else { return false };
    schema.ref_location == Ref::from_schema_name(ErrorEnvelope::name()).ref_location
}

/// Returns the reason phrase of a status, such as `No Content` for `204`, since the specification requires a
/// description.
fn reason(status: &str) -> String {
    let status = status.parse::<StatusCode>().ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or("The response.").into()
}

/// Describes a body as bytes if it is neither JSON, XML, text nor a form.
fn describe_bytes(kind: &str, content: &mut RefOr<Content>) {
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let is_readable = essence.ends_with("json")
        || essence.ends_with("jsonl")
        || essence.ends_with("xml")
        || essence.starts_with("text/")
        || essence.starts_with("multipart/")
        || essence == "application/x-www-form-urlencoded";
    if let (RefOr::T(content), false) = (content, is_readable) {
        content.schema = Some(bytes());
    }
}

fn bytes() -> RefOr<Schema> {
    let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
}
