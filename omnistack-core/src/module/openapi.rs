//! The OpenAPI document of all modules' routes.

mod document;
mod fragment;
mod id;
mod operation;
mod part;
mod response;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        Info, OpenApiVersion, Paths, Ref, RefOr, Response, Server,
        path::{Operation, Parameter, PathItem},
        schema::Schema,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
        tag::{Tag, TagBuilder},
    },
};

use super::{Mount, route_info::method_name};
use crate::http::{ApiVersion, ErrorBody, ErrorEnvelope, ProblemDetails};
use crate::identity::AccessLevel;
use crate::webhook_event::WebhookEvent;

use fragment::Fragment;

pub(crate) use document::OpenApiDocument;
pub(crate) use operation::{operations, retain_operations};
pub(crate) use part::OpenApiPart;

const BEARER: &str = "bearer";

/// Operations by method, in lower case.
type Operations = BTreeMap<String, Fragment<Operation>>;

/// A path of the document.
#[derive(Default)]
struct PathEntry {
    /// Whether its callers are signed in, so that the caller parameters apply.
    takes_parameters: bool,
    operations: Operations,
}

/// The document under construction.
#[derive(Default)]
pub(crate) struct OpenApiBuilder {
    /// Whether operations and schemas are kept as values of utoipa until the document is written. They take megabytes,
    /// mostly of repeated text. Without, each becomes JSON at once, which takes a third of the time of a build without
    /// optimisations.
    keeps_values: bool,
    paths: BTreeMap<String, PathEntry>,
    /// Schemas by name, with the module that added them first.
    schemas: BTreeMap<String, (&'static str, Fragment<RefOr<Schema>>)>,
    tags: BTreeSet<String>,
    /// Method and path by operation id.
    ids: BTreeMap<String, String>,
    /// Security schemes by name, besides the bearer token.
    security_schemes: BTreeMap<&'static str, SecurityScheme>,
    /// Parameters by name, for the routes of signed-in callers.
    parameters: BTreeMap<&'static str, Parameter>,
    /// Functions that describe the requests that the app sends to receivers of webhooks, by type of event.
    webhooks: BTreeMap<&'static str, fn() -> Box<RawValue>>,
}

impl OpenApiBuilder {
    /// Creates a document without routes. It contains the schemas of errors. `keeps_values` is for apps whose document
    /// is rarely asked for.
    pub(crate) fn new(keeps_values: bool) -> Self {
        let mut description = Self { keeps_values, ..Self::default() };
        let mut schemas = vec![
            (ErrorBody::name().into(), ErrorBody::schema()),
            (ErrorEnvelope::name().into(), ErrorEnvelope::schema()),
            (ProblemDetails::name().into(), ProblemDetails::schema()),
        ];
        ErrorEnvelope::schemas(&mut schemas);
        description.add_schemas("core", schemas);
        description
    }

    /// Adds operations of a module. Returns those whose id another operation has: the id, with method and path of
    /// both.
    pub(crate) fn add(&mut self, module: &'static str, mount: &Mount, paths: Paths) -> Vec<(String, [String; 2])> {
        let mut taken = Vec::new();
        for (path, item) in paths.paths {
            let full = mount.join(&path);
            let item = operation::describe_operations(item, module, mount, &path);
            taken.extend(self.claim_ids(&full, &item));
            let tags = operations(&item).into_iter().flat_map(|(_, operation)| operation.tags.iter().flatten());
            self.tags.extend(tags.cloned());
            let known = self.paths.entry(full).or_default();
            known.takes_parameters = matches!(mount.access_level(), AccessLevel::App | AccessLevel::Machine);
            known.operations.extend(operation::into_operations(item).map(|(method, operation)| {
                (method_name(&method).to_ascii_lowercase(), Fragment::new(operation, self.keeps_values))
            }));
        }
        taken
    }

    fn claim_ids(&mut self, path: &str, item: &PathItem) -> Vec<(String, [String; 2])> {
        let mut taken = Vec::new();
        for (method, operation) in operations(item) {
            let (id, own) =
                (operation.operation_id.clone().unwrap_or_default(), format!("{} {path}", method_name(&method)));
            match self.ids.get(&id) {
                // Two operations with the same method and path are reported elsewhere.
                Some(other) if *other != own => taken.push((id, [own, other.clone()])),
                Some(_) => {}
                None => _ = self.ids.insert(id, own),
            }
        }
        taken
    }

    /// Adds schemas of a module, each once. Returns the names that already have a different schema, with the module
    /// that added it. The document has one schema per name.
    pub(crate) fn add_schemas(
        &mut self,
        module: &'static str,
        schemas: Vec<(String, RefOr<Schema>)>,
    ) -> BTreeMap<String, &'static str> {
        let mut different = BTreeMap::new();
        for (name, schema) in schemas {
            match self.schemas.get(&name) {
                Some((_, known)) if known.describes(&schema) => {}
                Some((other, _)) => _ = different.insert(name, *other),
                None => _ = self.schemas.insert(name, (module, Fragment::new(schema, self.keeps_values))),
            }
        }
        different
    }

    /// Adds a method by which callers authenticate.
    pub(crate) fn add_security_scheme(&mut self, name: &'static str, scheme: SecurityScheme) {
        self.security_schemes.insert(name, scheme);
    }

    /// Adds a parameter to every route of signed-in callers.
    pub(crate) fn add_parameter(&mut self, name: &'static str, parameter: Parameter) {
        self.parameters.insert(name, parameter);
    }

    /// Adds a type of event that the app sends to receivers of webhooks.
    pub(crate) fn add_webhook<E: WebhookEvent>(&mut self) {
        self.webhooks.insert(E::TYPE, webhook::request::<E>);
    }

    /// Returns the OpenAPI 3.1 document of an app at `server`. If the app has left routes out, it has only the schemas
    /// that the others refer to. A builder that keeps values writes it when it is first asked for.
    pub(crate) fn finish(self, title: &str, version: &str, server: &str, routes_were_removed: bool) -> OpenApiDocument {
        let keeps_values = self.keeps_values;
        let (title, version, server) = (title.to_owned(), version.to_owned(), server.to_owned());
        let document = OpenApiDocument::new(move || self.write(&title, &version, &server, routes_were_removed));
        if !keeps_values {
            document.json();
        }
        document
    }

    fn write(&self, title: &str, version: &str, server: &str, routes_were_removed: bool) -> Bytes {
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An access token of a user, or an API key."));
        let bearer = SecurityScheme::Http(bearer.build());
        let mut security_schemes: BTreeMap<_, _> =
            self.security_schemes.iter().map(|(name, scheme)| (*name, scheme)).collect();
        security_schemes.entry(BEARER).or_insert(&bearer);
        // The bearer token comes first: some code generators read only one scheme.
        let others = security_schemes.keys().copied().filter(|name| *name != BEARER);
        let security = std::iter::once(BEARER).chain(others);
        let parameters = self.parameters.keys().map(|name| Ref::new(format!("#/components/parameters/{name}")));
        let parameters = json(&parameters.collect::<Vec<_>>());
        let parameters =
            Some(("parameters", PathField::Parameters(&parameters))).filter(|_| !self.parameters.is_empty());
        let paths = self.paths.iter().map(|(path, known)| {
            let operations =
                known.operations.iter().map(|(method, operation)| (method.as_str(), PathField::Operation(operation)));
            (path, operations.chain(parameters.filter(|_| known.takes_parameters)).collect())
        });
        let document = Document {
            openapi: OpenApiVersion::Version31,
            info: Info::new(title, version),
            servers: [Server::new(server)],
            security: security.map(|name| SecurityRequirement::new(name, Vec::<String>::new())).collect(),
            paths: paths.collect(),
            webhooks: self.webhooks.iter().map(|(name, request)| (*name, request())).collect(),
            components: Components {
                schemas: self.schemas.iter().map(|(name, (_, schema))| (name, schema)).collect(),
                responses: [(response::ERROR_RESPONSE, response::error_component())].into(),
                parameters: &self.parameters,
                security_schemes,
            },
            tags: self.tags.iter().map(|tag| TagBuilder::new().name(tag).build()).collect(),
        };
        let all = serde_json::to_vec(&document).unwrap_or_default();
        let needed = if routes_were_removed { part::select(&all, |_, _| true, true).ok() } else { None };
        needed.unwrap_or(all).into_boxed_slice().into()
    }

    /// Returns the API versions that have routes.
    pub(crate) fn versions(&self) -> BTreeSet<ApiVersion> {
        self.paths.keys().filter_map(|path| version_of(path)).collect()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    openapi: OpenApiVersion,
    info: Info,
    servers: [Server; 1],
    /// Alternatives that an operation requires unless it declares others.
    security: Vec<SecurityRequirement>,
    paths: BTreeMap<&'a String, BTreeMap<&'a str, PathField<'a>>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    webhooks: BTreeMap<&'static str, Box<RawValue>>,
    components: Components<'a>,
    tags: Vec<Tag>,
}

/// A field of a path.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum PathField<'a> {
    Operation(&'a Fragment<Operation>),
    Parameters(&'a RawValue),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Components<'a> {
    schemas: BTreeMap<&'a String, &'a Fragment<RefOr<Schema>>>,
    responses: BTreeMap<&'a str, Response>,
    parameters: &'a BTreeMap<&'static str, Parameter>,
    security_schemes: BTreeMap<&'a str, &'a SecurityScheme>,
}

/// Serializes a value. Values of utoipa can always be serialized.
fn json(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

pub(crate) fn version_of(path: &str) -> Option<ApiVersion> {
    path.strip_prefix("/api/")?.split('/').next()?.parse().ok()
}
