//! One description of every module's routes.

mod operation;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
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
#[derive(Default)]
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
        let mut description = Self::default();
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

    /// All of it: OpenAPI 3.1.
    pub(super) fn document(&self, title: &str, version: &str) -> Bytes {
        let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("A token of a signed-in caller."));
        let components = Components {
            schemas: self.schemas.iter().map(|(name, (_, schema))| (name, &**schema)).collect(),
            security_schemes: [(SCHEME, SecurityScheme::Http(scheme.build()))].into(),
        };
        let tags: Vec<_> = self.tags.iter().map(|tag| TagBuilder::new().name(*tag).build()).collect();
        let document = Document {
            openapi: OpenApiVersion::Version31,
            info: Info::new(title, version),
            paths: &self.paths,
            components,
            tags,
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
    paths: &'a BTreeMap<String, Operations>,
    components: Components<'a>,
    tags: Vec<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Components<'a> {
    schemas: BTreeMap<&'a String, &'a RawValue>,
    security_schemes: BTreeMap<&'a str, SecurityScheme>,
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
