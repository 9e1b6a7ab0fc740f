//! One description of every module's routes.

mod operation;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        Info, OpenApiVersion, Paths, RefOr,
        schema::Schema,
        security::{Http, HttpAuthScheme, SecurityScheme},
        tag::{Tag, TagBuilder},
    },
};

use super::{Mount, routing::name};
use crate::http::{ApiVersion, ErrorBody, ErrorEnvelope};

pub(super) use operation::operations;

const SCHEME: &str = "bearer";

/// By method, in lower case.
type Operations = BTreeMap<String, Box<RawValue>>;

/// What is known of the routes so far, as JSON: as values their descriptions take megabytes, most of them again and again.
pub(super) struct Description {
    paths: BTreeMap<String, Operations>,
    /// By name, with the module that was first.
    schemas: BTreeMap<String, (&'static str, Box<RawValue>)>,
    tags: BTreeSet<&'static str>,
    ids: BTreeSet<String>,
}

impl Description {
    /// Of no routes: errors have schemas nevertheless.
    pub(super) fn new() -> Self {
        let (paths, schemas) = (BTreeMap::new(), BTreeMap::new());
        let mut description = Self { paths, schemas, tags: BTreeSet::new(), ids: BTreeSet::new() };
        let mut schemas = vec![
            (ErrorBody::name().into(), ErrorBody::schema()),
            (ErrorEnvelope::name().into(), ErrorEnvelope::schema()),
        ];
        ErrorEnvelope::schemas(&mut schemas);
        description.add_schemas("core", schemas);
        description
    }

    /// Adds operations of a module.
    pub(super) fn add(&mut self, module: &'static str, mount: &Mount, paths: Paths) {
        self.tags.insert(module);
        for (path, item) in paths.paths {
            let item = operation::described(item, module, mount, &mut self.ids);
            let known = self.paths.entry(mount.join(&path)).or_default();
            known.extend(
                operations(&item)
                    .into_iter()
                    .map(|(method, operation)| (name(&method).to_ascii_lowercase(), json(operation))),
            );
        }
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

    /// All of it, as it is answered.
    pub(super) fn documents(&self, title: &str, version: &str) -> Documents {
        let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("A token of a signed-in caller."));
        let mut document = Document {
            openapi: OpenApiVersion::Version31,
            info: Info::new(title, version),
            paths: self.paths.iter().collect(),
            components: Components {
                schemas: self.schemas.iter().map(|(name, (_, schema))| (name, &**schema)).collect(),
                security_schemes: [(SCHEME, SecurityScheme::Http(scheme.build()))].into(),
            },
            tags: self.tags.iter().map(|tag| TagBuilder::new().name(*tag).build()).collect(),
        };
        let whole = document.bytes();
        let versions: BTreeSet<_> = self.paths.keys().filter_map(|path| version_of(path)).collect();
        let alone = versions.into_iter().map(|version| {
            let served = |path: &str| version_of(path).is_none_or(|of| of == version);
            document.paths = self.paths.iter().filter(|(path, _)| served(path)).collect();
            (version, document.bytes())
        });
        Documents { versions: alone.collect(), whole }
    }
}

/// OpenAPI 3.1: of all routes, and of those of each version.
pub(super) struct Documents {
    pub(super) whole: Bytes,
    pub(super) versions: BTreeMap<ApiVersion, Bytes>,
}

#[derive(Serialize)]
struct Document<'a> {
    openapi: OpenApiVersion,
    info: Info,
    paths: BTreeMap<&'a String, &'a Operations>,
    components: Components<'a>,
    tags: Vec<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Components<'a> {
    schemas: BTreeMap<&'a String, &'a RawValue>,
    security_schemes: BTreeMap<&'a str, SecurityScheme>,
}

impl Document<'_> {
    fn bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// What utoipa makes can always be written.
fn json(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

pub(super) fn version_of(path: &str) -> Option<ApiVersion> {
    path.strip_prefix("/api/")?.split('/').next()?.parse().ok()
}
