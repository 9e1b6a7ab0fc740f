//! Parts of the OpenAPI document: the routes of one version, or of one version and access level.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::version_of;
use crate::{
    http::ApiVersion,
    identity::AccessLevel,
    module::{ANY_METHOD, RouteInfo},
};

/// A part of the document: the routes of a version and those without a version, of one access level or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpenApiPart {
    version: ApiVersion,
    audience: Option<AccessLevel>,
}

impl OpenApiPart {
    /// Returns the parts that have described routes with a version.
    pub(crate) fn list(routes: &[RouteInfo]) -> BTreeSet<Self> {
        let described = routes.iter().filter(|route| is_described(route));
        let each = |route: &RouteInfo| {
            let version = version_of(&route.path)?;
            Some([None, Some(route.audience)].map(|audience| Self { version, audience }))
        };
        described.filter_map(each).flatten().collect()
    }

    /// Returns the path of the part: `/openapi/app.v1.json`.
    pub(crate) fn path(self) -> String {
        format!("/openapi/{self}.json")
    }

    /// Returns this part of a document, with the schemas and tags that its operations refer to. `routes` are those of
    /// the app.
    ///
    /// It is built per request, since it is rarely requested and takes as much memory as the whole document.
    pub(crate) fn of(self, document: &[u8], routes: &[RouteInfo]) -> Result<Vec<u8>, serde_json::Error> {
        let mut kept: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for route in routes.iter().filter(|route| is_described(route)) {
            let is_of_version = version_of(&route.path).is_none_or(|version| version == self.version);
            if is_of_version && self.audience.is_none_or(|audience| audience == route.audience) {
                kept.entry(&route.path).or_default().insert(route.method.to_ascii_lowercase());
            }
        }
        let keeps = |path: &str, method: &str| kept.get(path).is_some_and(|methods| methods.contains(method));
        // Webhooks are requests to receivers, which have no access level.
        select(document, keeps, self.audience.is_none())
    }
}

fn is_described(route: &RouteInfo) -> bool {
    route.method != ANY_METHOD
}

/// The name of the part: `v1` or `app.v1`.
impl fmt::Display for OpenApiPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(audience) = self.audience {
            write!(f, "{audience}.")?;
        }
        write!(f, "{}", self.version)
    }
}

impl FromStr for OpenApiPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (audience, version) = match text.split_once('.') {
            Some((audience, version)) => (Some(audience), version),
            None => (None, text),
        };
        let all = [AccessLevel::Public, AccessLevel::App, AccessLevel::Admin, AccessLevel::Machine];
        let audience = match audience {
            Some(name) => match all.into_iter().find(|level| level.as_str() == name) {
                Some(level) => Some(level),
                None => return Err(format!("`{name}` is not an access level: use public, app, admin or machine")),
            },
            None => None,
        };
        Ok(Self { version: version.parse()?, audience })
    }
}

/// Returns a document with the operations that `keeps` keeps by path and method in lower case, and with the components
/// and tags to which they refer.
pub(crate) fn select(
    document: &[u8],
    keeps: impl Fn(&str, &str) -> bool,
    with_webhooks: bool,
) -> Result<Vec<u8>, serde_json::Error> {
    const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let mut document: SerializedDocument<'_> = serde_json::from_slice(document)?;
    document.paths.retain(|path, item| {
        item.retain(|key, _| !METHODS.contains(&key.as_str()) || keeps(path, key));
        item.keys().any(|key| METHODS.contains(&key.as_str()))
    });
    if !with_webhooks {
        document.webhooks.clear();
    }
    let operations = document.paths.values().flat_map(BTreeMap::values);
    let found: Vec<&RawValue> = operations.chain(document.webhooks.values()).copied().collect();
    let tags = document.paths.values().flat_map(BTreeMap::values).filter_map(|operation| {
        // The parameters of a path are a list, and have no tags.
        serde_json::from_str::<OperationTags>(operation.get()).ok()
    });
    let tags: BTreeSet<String> = tags.flat_map(|operation| operation.tags).collect();
    document.tags.retain(|tag| tags.contains(&tag.name));
    document.components.retain_referenced(&found);
    serde_json::to_vec(&document)
}

/// A document that has been serialized.
#[derive(Serialize, Deserialize)]
struct SerializedDocument<'a> {
    #[serde(borrow)]
    openapi: &'a RawValue,
    info: &'a RawValue,
    servers: &'a RawValue,
    security: &'a RawValue,
    paths: BTreeMap<String, BTreeMap<String, &'a RawValue>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    webhooks: BTreeMap<String, &'a RawValue>,
    components: SerializedComponents<'a>,
    tags: Vec<TagName>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SerializedComponents<'a> {
    #[serde(borrow)]
    schemas: BTreeMap<String, &'a RawValue>,
    responses: BTreeMap<String, &'a RawValue>,
    parameters: BTreeMap<String, &'a RawValue>,
    /// Callers choose among all methods.
    security_schemes: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct TagName {
    name: String,
}

#[derive(Deserialize)]
struct OperationTags {
    #[serde(default)]
    tags: Vec<String>,
}

impl<'a> SerializedComponents<'a> {
    /// Removes the components to which none of the texts refers, directly or by another component.
    fn retain_referenced(&mut self, texts: &[&'a RawValue]) {
        let mut known: BTreeSet<(&'a str, &'a str)> = BTreeSet::new();
        let mut unread: Vec<&'a RawValue> = texts.to_vec();
        while let Some(text) = unread.pop() {
            for (kind, name) in references(text.get()) {
                if known.insert((kind, name)) {
                    unread.extend(self.components(kind).and_then(|all| all.get(name)).copied());
                }
            }
        }
        for kind in [SCHEMAS, RESPONSES, PARAMETERS] {
            let Some(all) = self.components_mut(kind) else { continue };
            all.retain(|name, _| known.contains(&(kind, name.as_str())));
        }
    }

    fn components(&self, kind: &str) -> Option<&BTreeMap<String, &'a RawValue>> {
        match kind {
            SCHEMAS => Some(&self.schemas),
            RESPONSES => Some(&self.responses),
            PARAMETERS => Some(&self.parameters),
            _ => None,
        }
    }

    fn components_mut(&mut self, kind: &str) -> Option<&mut BTreeMap<String, &'a RawValue>> {
        match kind {
            SCHEMAS => Some(&mut self.schemas),
            RESPONSES => Some(&mut self.responses),
            PARAMETERS => Some(&mut self.parameters),
            _ => None,
        }
    }
}

const SCHEMAS: &str = "schemas";
const RESPONSES: &str = "responses";
const PARAMETERS: &str = "parameters";

/// Returns kind and name of each component to which a text of JSON refers. A description that contains such a reference
/// counts as well, which keeps a component too many and none too few.
fn references(json: &str) -> impl Iterator<Item = (&str, &str)> {
    json.split("\"#/components/").skip(1).filter_map(|rest| rest.split('"').next()?.split_once('/'))
}

#[cfg(test)]
mod tests {
    use super::{OpenApiPart, references};

    #[test]
    fn a_part_has_a_name() {
        for name in ["v1", "v2", "app.v1", "admin.v12", "machine.v2", "public.v1"] {
            assert_eq!(name.parse::<OpenApiPart>().unwrap().to_string(), name);
        }
        for wrong in ["", "app", "app.", "users.v1", "v1.app", "app.v0"] {
            assert!(wrong.parse::<OpenApiPart>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn references_are_found() {
        let json =
            r##"{"a":{"$ref":"#/components/schemas/Room"},"b":[{"$ref":"#/components/responses/ApiError"}],"c":"#/"}"##;
        assert_eq!(references(json).collect::<Vec<_>>(), [("schemas", "Room"), ("responses", "ApiError")]);
    }
}
