//! Parts of an operation's description that do not come from its handler.

use utoipa::openapi::{
    HttpMethod, ObjectBuilder, PathItem, RefOr, Required,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn},
    schema::Type,
};

use super::{id::operation_id, response};
use crate::{
    identity::AccessLevel,
    module::{Mount, mount::IdempotencyPolicy},
};

/// Adds what applies to every operation and the operation does not set itself: its id, the tag of its module, the errors,
/// and for public routes that no authentication is needed.
pub(crate) fn describe_operations(mut item: PathItem, module: &'static str, mount: &Mount, path: &str) -> PathItem {
    let audience = mount.access_level();
    for (method, operation) in operations_mut(&mut item) {
        let name = operation.operation_id.take().unwrap_or_else(|| "call".into());
        operation.summary.get_or_insert_with(|| sentence(&name));
        operation.operation_id = Some(operation_id(&name, mount, path));
        if operation.tags.as_ref().is_none_or(Vec::is_empty) {
            operation.tags = Some(vec![module.to_owned()]);
        }
        let responses = &mut operation.responses.responses;
        let mut error = |status: &str, description: &str| {
            responses.entry(status.into()).or_insert_with(|| match mount.error_form {
                Some(form) => response::error_in_form(form, description),
                None => response::error(description),
            });
        };
        error("default", "");
        if audience == AccessLevel::Public {
            operation.security.get_or_insert_default();
        } else {
            error("401", "The caller is not signed in.");
        }
        if matches!(audience, AccessLevel::Admin | AccessLevel::Machine) || mount.resource.is_some() {
            error("403", "The caller lacks the permission.");
        }
        if mount.rate_limit.is_some() {
            error("429", "Too many requests. `Retry-After` contains the seconds to wait.");
        }
        if matches!(method, HttpMethod::Post | HttpMethod::Patch) && mount.keys != IdempotencyPolicy::Ignored {
            let required = mount.keys == IdempotencyPolicy::Required;
            error(
                "409",
                "A request with the same `Idempotency-Key` is in progress, or the key was used for a different request.",
            );
            if required {
                error("400", "The header `Idempotency-Key` is missing.");
            }
            let key = idempotency_key(required);
            let parameters = operation.parameters.get_or_insert_default();
            let named = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.name.eq_ignore_ascii_case(&key.name));
            if !parameters.iter().any(named) {
                parameters.push(key.into());
            }
        }
        response::complete_operation(operation);
    }
    item
}

fn idempotency_key(required: bool) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(if required { Required::True } else { Required::False })
        .description(Some(
            "A unique key that the client creates for each new request. A retry with the same key returns the stored response of the first request.",
        ))
        // A key may also be written as a quoted string; a key that begins with a quote must be.
        .schema(Some(text.pattern(Some("^[!#-~][!-~]*$"))))
        .build()
}

/// Returns `List projects` for `list_projects`: the summary of a handler without documentation.
fn sentence(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub(crate) fn operations(item: &PathItem) -> Vec<(HttpMethod, &Operation)> {
    let all = [
        (HttpMethod::Get, &item.get),
        (HttpMethod::Put, &item.put),
        (HttpMethod::Post, &item.post),
        (HttpMethod::Delete, &item.delete),
        (HttpMethod::Options, &item.options),
        (HttpMethod::Head, &item.head),
        (HttpMethod::Patch, &item.patch),
        (HttpMethod::Trace, &item.trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?))).collect()
}

/// Returns the operations of a path by value.
pub(super) fn into_operations(item: PathItem) -> impl Iterator<Item = (HttpMethod, Operation)> {
    let all = [
        (HttpMethod::Get, item.get),
        (HttpMethod::Put, item.put),
        (HttpMethod::Post, item.post),
        (HttpMethod::Delete, item.delete),
        (HttpMethod::Options, item.options),
        (HttpMethod::Head, item.head),
        (HttpMethod::Patch, item.patch),
        (HttpMethod::Trace, item.trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation?)))
}

/// Removes the operations that `keep` does not keep.
pub(crate) fn retain_operations(item: &mut PathItem, mut keep: impl FnMut(&HttpMethod) -> bool) {
    let all = [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Delete, &mut item.delete),
        (HttpMethod::Options, &mut item.options),
        (HttpMethod::Head, &mut item.head),
        (HttpMethod::Patch, &mut item.patch),
        (HttpMethod::Trace, &mut item.trace),
    ];
    for (method, operation) in all {
        if operation.is_some() && !keep(&method) {
            *operation = None;
        }
    }
}

fn operations_mut(item: &mut PathItem) -> Vec<(HttpMethod, &mut Operation)> {
    let all = [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Delete, &mut item.delete),
        (HttpMethod::Options, &mut item.options),
        (HttpMethod::Head, &mut item.head),
        (HttpMethod::Patch, &mut item.patch),
        (HttpMethod::Trace, &mut item.trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?))).collect()
}
