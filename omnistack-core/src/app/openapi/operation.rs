//! What an operation's description says beside what its handler does.

use utoipa::openapi::{
    HttpMethod, ObjectBuilder, PathItem, RefOr, Required,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn},
    schema::Type,
};

use super::{answer, id::operation_id};
use crate::app::{Audience, Mount, mount::Keys};

/// Adds what is true of every operation: its id, its module's tag, the errors, and that anybody may call a public one.
pub(super) fn described(mut item: PathItem, module: &'static str, mount: &Mount, path: &str) -> PathItem {
    let audience = mount.audience();
    for (method, operation) in operations_mut(&mut item) {
        let name = operation.operation_id.take().unwrap_or_else(|| "call".into());
        operation.summary.get_or_insert_with(|| sentence(&name));
        operation.operation_id = Some(operation_id(&name, mount, path));
        operation.tags = Some(vec![module.to_owned()]);
        let responses = &mut operation.responses.responses;
        let mut error = |status: &str, description: &str| {
            responses.entry(status.into()).or_insert_with(|| answer::error(description));
        };
        error("default", "");
        if audience == Audience::Public {
            operation.security = Some(Vec::new());
        } else {
            error("401", "Nobody is signed in.");
        }
        if matches!(audience, Audience::Admin | Audience::Machine) || mount.resource.is_some() {
            error("403", "The caller may not do this.");
        }
        if mount.rate_limit.is_some() {
            error("429", "Too many requests; `Retry-After` says how long to wait.");
        }
        if matches!(method, HttpMethod::Post | HttpMethod::Patch) && mount.keys != Keys::Ignored {
            let required = mount.keys == Keys::Required;
            error("409", "Its `Idempotency-Key` is in use, or was used otherwise.");
            if required {
                error("400", "It has no `Idempotency-Key`.");
            }
            let key = idempotency_key(required);
            let parameters = operation.parameters.get_or_insert_default();
            let named = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.name.eq_ignore_ascii_case(&key.name));
            if !parameters.iter().any(named) {
                parameters.push(key.into());
            }
        }
        answer::complete(operation);
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
            "Of the client's making, a new one for each new request. A request sent again with its key is carried out once.",
        ))
        // A key may also be written as a string with quotes; what begins with one has to be.
        .schema(Some(text.pattern(Some("^[!#-~][!-~]*$"))))
        .build()
}

/// `list_projects` as `List projects`: for a handler nobody has described.
fn sentence(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub(in crate::app) fn operations(item: &PathItem) -> Vec<(HttpMethod, &Operation)> {
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
