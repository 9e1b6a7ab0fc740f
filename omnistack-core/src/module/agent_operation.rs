//! Operations that agents may call as tools.

use http::Method;
use utoipa::openapi::Paths;

use super::{
    Mount,
    openapi::operations,
    route_info::{method_name, required_permissions},
};
use crate::identity::{AccessLevel, Identity, Require};

/// The name of the extension with which a handler's description marks its operation as a tool of agents:
/// `extensions(("x-agent-tool" = json!(true)))`.
pub const AGENT_TOOL_EXTENSION: &str = "x-agent-tool";

/// An operation that its module has marked with [`AGENT_TOOL_EXTENSION`]: agents may call it as a tool. The OpenAPI
/// document describes it.
///
/// ```
/// use omnistack_core::{http::Json, module::Api};
/// use utoipa_axum::routes;
///
/// /// List the planets
/// #[utoipa::path(get, path = "/", responses((status = 200, body = Vec<String>)),
///     extensions(("x-agent-tool" = json!(true))))]
/// async fn list() -> Json<Vec<String>> {
///     Json(vec!["Mars".into()])
/// }
///
/// let api: Api<()> = Api::new().routes(routes!(list));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentOperation {
    /// The method.
    pub method: Method,
    /// The full path, with `{parameters}`.
    pub path: String,
    /// The access level of the mount.
    pub access_level: AccessLevel,
    /// The permissions that the mount and the route require.
    pub permissions: Vec<String>,
    /// Whether API keys and operators who impersonate a user are refused.
    pub in_person: bool,
}

impl AgentOperation {
    /// Returns whether a caller can expect the operation to be allowed. The guard of the operation decides when it is
    /// called.
    pub fn admits(&self, caller: &Identity) -> bool {
        let at_level = match self.access_level {
            AccessLevel::Public | AccessLevel::App => true,
            AccessLevel::Admin => caller.operator,
            AccessLevel::Machine => caller.service_account,
        };
        at_level
            && (!self.in_person || caller.require_in_person().is_ok())
            && self.permissions.iter().all(|permission| caller.can(permission))
    }
}

/// Returns the marked operations of a mount.
pub(super) fn marked_operations(mount: &Mount, paths: &Paths, require: Option<&Require>) -> Vec<AgentOperation> {
    let mut marked = Vec::new();
    for (path, item) in &paths.paths {
        for (method, operation) in operations(item) {
            let mark = operation.extensions.as_ref().and_then(|all| all.get(AGENT_TOOL_EXTENSION));
            if mark.and_then(serde_json::Value::as_bool) != Some(true) {
                continue;
            }
            let name = method_name(&method);
            marked.push(AgentOperation {
                method: Method::from_bytes(name.as_bytes()).unwrap_or_default(),
                path: mount.join(path),
                access_level: mount.access_level(),
                permissions: required_permissions(mount, name, require),
                in_person: mount.in_person,
            });
        }
    }
    marked
}
