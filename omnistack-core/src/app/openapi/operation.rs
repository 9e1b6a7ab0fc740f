//! What an operation's description says beside what its handler does.

use std::collections::BTreeSet;

use utoipa::{
    ToSchema as _,
    openapi::{
        Content, HttpMethod, ObjectBuilder, PathItem, Ref, RefOr, Required, ResponseBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
        security::SecurityRequirement,
    },
};

use super::SCHEME;
use crate::{
    app::{Audience, Mount, mount::Keys},
    http::{ApiVersion, ErrorEnvelope},
};

/// Adds what is true of every operation: a unique id, its module's tag, the errors and who may call.
pub(super) fn described(
    mut item: PathItem,
    module: &'static str,
    mount: &Mount,
    ids: &mut BTreeSet<String>,
) -> PathItem {
    let audience = mount.audience();
    for (method, operation) in operations_mut(&mut item) {
        let name = operation.operation_id.take().unwrap_or_else(|| "call".into());
        operation.summary.get_or_insert_with(|| sentence(&name));
        operation.operation_id = Some(unique(&format!("{}_{name}", module.replace('-', "_")), mount.version, ids));
        operation.tags = Some(vec![module.to_owned()]);
        let responses = &mut operation.responses.responses;
        responses.entry("default".into()).or_insert_with(|| error("An error, in the form of every error."));
        if audience != Audience::Public {
            responses.entry("401".into()).or_insert_with(|| error("Nobody is signed in."));
            operation.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
        }
        if matches!(method, HttpMethod::Post | HttpMethod::Patch) && mount.keys != Keys::Ignored {
            let required = mount.keys == Keys::Required;
            responses
                .entry("409".into())
                .or_insert_with(|| error("Its `Idempotency-Key` is in use, or was used otherwise."));
            if required {
                responses.entry("400".into()).or_insert_with(|| error("It has no `Idempotency-Key`."));
            }
            let key = idempotency_key(required);
            let parameters = operation.parameters.get_or_insert_default();
            let named = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.name.eq_ignore_ascii_case(&key.name));
            if !parameters.iter().any(named) {
                parameters.push(key.into());
            }
        }
        if matches!(audience, Audience::Admin | Audience::Machine) || mount.resource.is_some() {
            responses.entry("403".into()).or_insert_with(|| error("The caller may not do this."));
        }
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

/// `projects_list`; in version 2 `projects_list_v2` when version 1 has it too.
fn unique(id: &str, version: Option<ApiVersion>, ids: &mut BTreeSet<String>) -> String {
    let versioned = version.filter(|version| version.0 > 1).map(|version| format!("{id}_{version}"));
    let numbered = (2..).map(|number| format!("{id}_{number}"));
    let mut candidates = std::iter::once(id.to_owned()).chain(versioned).chain(numbered);
    loop {
        match candidates.next() {
            Some(candidate) if ids.insert(candidate.clone()) => return candidate,
            Some(_) => {}
            None => return id.to_owned(),
        }
    }
}

fn error(description: &str) -> RefOr<utoipa::openapi::Response> {
    let schema = Ref::from_schema_name(ErrorEnvelope::name());
    let problem = Content::new(Some(crate::http::problem_schema()));
    ResponseBuilder::new()
        .description(description)
        .content("application/json", Content::new(Some(schema)))
        .content("application/problem+json", problem)
        .build()
        .into()
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
