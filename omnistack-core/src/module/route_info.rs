//! The list of routes.

use utoipa::openapi::{HttpMethod, Paths};

use super::{ANY_METHOD, Mount, openapi::operations};
use crate::identity::{AccessLevel, Require};

/// A route, as the command `routes` lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct RouteInfo {
    /// Full path, with `{parameters}`.
    pub path: String,
    /// Method such as `GET`, or `ANY` for a route that the OpenAPI document leaves out.
    pub method: String,
    /// Access level.
    pub audience: AccessLevel,
    /// Name of the module that mounts it.
    pub module: &'static str,
    /// The permissions that the mount and the route require of callers. Handlers may require more.
    pub permissions: Vec<String>,
}

impl RouteInfo {
    /// Creates a page of core, for all callers.
    pub(crate) fn page(path: String) -> Self {
        Self { path, method: "GET".into(), audience: AccessLevel::Public, module: "core", permissions: Vec::new() }
    }

    pub(super) fn new(
        module: &'static str,
        mount: &Mount,
        path: String,
        method: &str,
        require: Option<&Require>,
    ) -> Self {
        let permissions = required_permissions(mount, method, require);
        Self { path, method: method.into(), audience: mount.access_level(), module, permissions }
    }
}

/// Returns the permissions that a mount and a route require of callers of a method.
pub(super) fn required_permissions(mount: &Mount, method: &str, require: Option<&Require>) -> Vec<String> {
    let actions: &[&str] = match method {
        "GET" | "HEAD" => &["read"],
        ANY_METHOD => &["read", "write"],
        _ => &["write"],
    };
    let of_mount = mount.resource.iter().flat_map(|on| actions.iter().map(move |action| format!("{on}:{action}")));
    let of_route = require.and_then(Require::required_permission).map(str::to_owned);
    of_mount.chain(of_route).collect()
}

/// Returns the routes of a mount.
pub(super) fn route_infos(
    module: &'static str,
    mount: &Mount,
    paths: &Paths,
    require: Option<&Require>,
) -> Vec<RouteInfo> {
    let info = |path: &str, item| {
        let methods = operations(item).into_iter().map(|(method, _)| method_name(&method));
        methods.map(|method| RouteInfo::new(module, mount, mount.join(path), method, require)).collect::<Vec<_>>()
    };
    paths.paths.iter().flat_map(|(path, item)| info(path, item)).collect()
}

pub(super) fn method_name(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
        HttpMethod::Put => "PUT",
        HttpMethod::Delete => "DELETE",
        HttpMethod::Options => "OPTIONS",
        HttpMethod::Head => "HEAD",
        HttpMethod::Patch => "PATCH",
        HttpMethod::Trace => "TRACE",
    }
}
