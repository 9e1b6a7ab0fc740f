//! The list of routes.

use utoipa::openapi::{HttpMethod, Paths};

use super::{Mount, openapi::operations};
use crate::identity::AccessLevel;

/// A route, as the command `routes` lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteInfo {
    /// Full path, with `{parameters}`.
    pub path: String,
    /// Method such as `GET`, or `ANY` for a route that the OpenAPI document leaves out.
    pub method: String,
    /// Access level.
    pub audience: AccessLevel,
    /// Name of the module that mounts it.
    pub module: &'static str,
}

impl RouteInfo {
    pub(super) fn new(module: &'static str, mount: &Mount, path: String, method: &str) -> Self {
        Self { path, method: method.into(), audience: mount.access_level(), module }
    }
}

/// Returns the routes of a mount.
pub(super) fn route_infos(module: &'static str, mount: &Mount, paths: &Paths) -> Vec<RouteInfo> {
    let info = |path: &str, item| {
        let methods = operations(item).into_iter().map(|(method, _)| method_name(&method));
        methods.map(|method| RouteInfo::new(module, mount, mount.join(path), method)).collect::<Vec<_>>()
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
