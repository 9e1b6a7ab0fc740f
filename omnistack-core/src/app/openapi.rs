//! One description of every module's routes.

mod answer;
mod id;
mod operation;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        Info, OpenApiVersion, Paths, Ref, RefOr, Response, Server,
        path::{Parameter, PathItem},
        schema::Schema,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
        tag::{Tag, TagBuilder},
    },
};

use super::{Audience, Mount, routing::name};
use crate::http::{ApiVersion, ErrorBody, ErrorEnvelope, ProblemDetails};

pub(super) use operation::operations;

const BEARER: &str = "bearer";

/// By method, in lower case.
type Operations = BTreeMap<String, Box<RawValue>>;

/// What is known of a path.
#[derive(Default)]
struct Path {
    /// Whether its callers are signed in, and so send headers that say more of them.
    takes_parameters: bool,
    operations: Operations,
}

/// What is known of the routes so far, as JSON: as values their descriptions take megabytes, most of them again and again.
#[derive(Default)]
pub(super) struct Description {
    paths: BTreeMap<String, Path>,
    /// By name, with the module that was first.
    schemas: BTreeMap<String, (&'static str, Box<RawValue>)>,
    tags: BTreeSet<&'static str>,
    /// With method and path of each.
    ids: BTreeMap<String, String>,
    /// By name, beside the bearer token.
    security_schemes: BTreeMap<&'static str, SecurityScheme>,
    /// By name, of the routes of signed-in callers.
    parameters: BTreeMap<&'static str, Parameter>,
}

impl Description {
    /// Of no routes: errors have schemas nevertheless.
    pub(super) fn new() -> Self {
        let mut description = Self::default();
        let mut schemas = vec![
            (ErrorBody::name().into(), ErrorBody::schema()),
            (ErrorEnvelope::name().into(), ErrorEnvelope::schema()),
            (ProblemDetails::name().into(), ProblemDetails::schema()),
        ];
        ErrorEnvelope::schemas(&mut schemas);
        description.add_schemas("core", schemas);
        description
    }

    /// Adds operations of a module. Returns each that has the id of another operation: its id, with method and path of both.
    pub(super) fn add(&mut self, module: &'static str, mount: &Mount, paths: Paths) -> Vec<(String, [String; 2])> {
        self.tags.insert(module);
        let mut taken = Vec::new();
        for (path, item) in paths.paths {
            let full = mount.join(&path);
            let item = operation::described(item, module, mount, &path);
            taken.extend(self.claim_ids(&full, &item));
            let known = self.paths.entry(full).or_default();
            known.takes_parameters = matches!(mount.audience(), Audience::App | Audience::Machine);
            known.operations.extend(
                operations(&item)
                    .into_iter()
                    .map(|(method, operation)| (name(&method).to_ascii_lowercase(), json(operation))),
            );
        }
        taken
    }

    fn claim_ids(&mut self, path: &str, item: &PathItem) -> Vec<(String, [String; 2])> {
        let mut taken = Vec::new();
        for (method, operation) in operations(item) {
            let (id, own) = (operation.operation_id.clone().unwrap_or_default(), format!("{} {path}", name(&method)));
            match self.ids.get(&id) {
                // That two are mounted at one place is a problem of its own.
                Some(other) if *other != own => taken.push((id, [own, other.clone()])),
                Some(_) => {}
                None => _ = self.ids.insert(id, own),
            }
        }
        taken
    }

    /// Adds schemas of a module, each once. Answers those of which there is a different one: by name, with whose it is. The
    /// description has room for one of a name.
    pub(super) fn add_schemas(
        &mut self,
        module: &'static str,
        schemas: Vec<(String, RefOr<Schema>)>,
    ) -> BTreeMap<String, &'static str> {
        let mut different = BTreeMap::new();
        for (name, schema) in schemas {
            let schema = json(&schema);
            match self.schemas.get(&name) {
                Some((_, known)) if known.get() == schema.get() => {}
                Some((other, _)) => _ = different.insert(name, *other),
                None => _ = self.schemas.insert(name, (module, schema)),
            }
        }
        different
    }

    /// Adds a way by which callers say who they are.
    pub(super) fn add_security_scheme(&mut self, name: &'static str, scheme: SecurityScheme) {
        self.security_schemes.insert(name, scheme);
    }

    /// Adds a parameter to every route of signed-in callers.
    pub(super) fn add_parameter(&mut self, name: &'static str, parameter: Parameter) {
        self.parameters.insert(name, parameter);
    }

    /// All of it: OpenAPI 3.1, of an app that answers at `server`.
    pub(super) fn document(&self, title: &str, version: &str, server: &str) -> Bytes {
        let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("A token of a signed-in caller."));
        let bearer = SecurityScheme::Http(bearer.build());
        let mut security_schemes: BTreeMap<_, _> =
            self.security_schemes.iter().map(|(name, scheme)| (*name, scheme)).collect();
        security_schemes.entry(BEARER).or_insert(&bearer);
        // The bearer token first: some code generators heed one of them only.
        let others = security_schemes.keys().copied().filter(|name| *name != BEARER);
        let security = std::iter::once(BEARER).chain(others);
        let parameters = self.parameters.keys().map(|name| Ref::new(format!("#/components/parameters/{name}")));
        let parameters = json(&parameters.collect::<Vec<_>>());
        let parameters = Some(("parameters", &*parameters)).filter(|_| !self.parameters.is_empty());
        let paths = self.paths.iter().map(|(path, known)| {
            let operations = known.operations.iter().map(|(method, operation)| (method.as_str(), &**operation));
            (path, operations.chain(parameters.filter(|_| known.takes_parameters)).collect())
        });
        let document = Document {
            openapi: OpenApiVersion::Version31,
            info: Info::new(title, version),
            servers: [Server::new(server)],
            security: security.map(|name| SecurityRequirement::new(name, Vec::<String>::new())).collect(),
            paths: paths.collect(),
            components: Components {
                schemas: self.schemas.iter().map(|(name, (_, schema))| (name, &**schema)).collect(),
                responses: [(answer::ERROR, answer::error_component())].into(),
                parameters: &self.parameters,
                security_schemes,
            },
            tags: self.tags.iter().map(|tag| TagBuilder::new().name(*tag).build()).collect(),
        };
        serde_json::to_vec(&document).unwrap_or_default().into_boxed_slice().into()
    }

    /// Of which versions there are routes.
    pub(super) fn versions(&self) -> BTreeSet<ApiVersion> {
        self.paths.keys().filter_map(|path| version_of(path)).collect()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    openapi: OpenApiVersion,
    info: Info,
    servers: [Server; 1],
    /// What an operation asks for unless it says otherwise: one of these.
    security: Vec<SecurityRequirement>,
    paths: BTreeMap<&'a String, BTreeMap<&'a str, &'a RawValue>>,
    components: Components<'a>,
    tags: Vec<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Components<'a> {
    schemas: BTreeMap<&'a String, &'a RawValue>,
    responses: BTreeMap<&'a str, Response>,
    parameters: &'a BTreeMap<&'static str, Parameter>,
    security_schemes: BTreeMap<&'a str, &'a SecurityScheme>,
}

/// What is left of a description for who knows one version: without the routes of others.
///
/// It is made when somebody asks, since few ever do, and each holds as much memory as the whole.
pub(super) fn of_version(document: &[u8], version: ApiVersion) -> Result<Vec<u8>, serde_json::Error> {
    let mut document: Written<'_> = serde_json::from_slice(document)?;
    document.paths.retain(|path, _| version_of(path).is_none_or(|of| of == version));
    serde_json::to_vec(&document)
}

/// A [`Document`] that was written.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    openapi: &'a RawValue,
    info: &'a RawValue,
    servers: &'a RawValue,
    security: &'a RawValue,
    paths: BTreeMap<String, &'a RawValue>,
    components: &'a RawValue,
    tags: &'a RawValue,
}

/// What utoipa makes can always be written.
fn json(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

pub(super) fn version_of(path: &str) -> Option<ApiVersion> {
    path.strip_prefix("/api/")?.split('/').next()?.parse().ok()
}
