//! The app as tools of agents, by the Model Context Protocol: `POST /mcp`, streamable HTTP without sessions.
//!
//! Operations that a module marks become tools. A call of a tool is a request to the app's own router with the
//! credentials of the caller, so its guards, scopes, limits, idempotency keys and audit apply.

mod arguments;
mod server;
mod settings;
mod tools;

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};
use omnistack_core::{
    app::OwnRoutes,
    config::{Environment, PublicUrl, SettingValue as _},
    http::{CorsOrigin, HeaderName},
    identity::{AccessLevel, Authenticator},
    module::{Api, Mount, Registry},
};
use rmcp::transport::{
    StreamableHttpServerConfig, StreamableHttpService, streamable_http_server::session::never::NeverSessionManager,
};

use server::{AppTools, ToolCatalog};
use settings::McpSettings;

/// Largest request, in bytes.
const MAX_REQUEST_BYTES: u64 = 1024 * 1024;
/// Longest duration of a call of a tool.
const TOOL_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest duration of a request: a call of a tool, and the messages around it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(130);

/// The service of the route.
type McpService = StreamableHttpService<AppTools, NeverSessionManager>;

/// Registers `/mcp`, if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<McpSettings>() else { return };
    if let Some(wrong) = settings.origins.iter().find(|origin| !is_origin(origin)) {
        registry.report_problem(
            format!("AI_MCP_ORIGINS: `{wrong}` is not an origin"),
            "use scheme, host and port, such as https://agents.example.com:443",
        );
    }
    let origins = allowed_origins(&registry.public_url(), registry.environment(), settings.origins);
    let (name, version) = (registry.app_name().to_owned(), registry.app_version().to_owned());
    registry
        .request_headers([
            HeaderName::from_static("mcp-protocol-version"),
            HeaderName::from_static("mcp-method"),
            HeaderName::from_static("mcp-name"),
        ])
        .after_modules(move |registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            // A retry has an `idempotency_key` among the arguments of its tool. Listing tools costs nothing, and a
            // call of a tool counts as the request that it makes.
            let mount = Mount::root("/mcp", AccessLevel::App)
                .body_limit(MAX_REQUEST_BYTES)
                .timeout(REQUEST_TIMEOUT)
                .without_idempotency()
                .without_usage();
            registry.routes(mount, Api::new().hidden("/", any(handle)), move |ctx| {
                let catalog = Arc::new(ToolCatalog::new(ctx.get::<OwnRoutes>()?, name, version));
                Ok(service(catalog, origins))
            });
        });
}

fn service(catalog: Arc<ToolCatalog>, origins: Vec<String>) -> McpService {
    // The host is not checked: unlike a server on the user's machine, this one answers only to credentials. Requests
    // are independent of each other, so any replica answers them.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(usize::try_from(MAX_REQUEST_BYTES).unwrap_or(usize::MAX))
        .disable_allowed_hosts()
        .with_allowed_origins(origins)
        .enforce_origin_validation();
    StreamableHttpService::new(
        move || Ok(AppTools::new(Arc::clone(&catalog))),
        Arc::new(NeverSessionManager::default()),
        config,
    )
}

async fn handle(State(service): State<McpService>, request: Request) -> Response {
    service.handle(request).await.map(Body::new)
}

/// Returns the origins of web pages that may call, each with its port.
fn allowed_origins(public: &PublicUrl, environment: Environment, settings: Vec<String>) -> Vec<String> {
    let mut origins = settings;
    origins.push(origin_of(public.as_str()));
    if !environment.is_production() {
        for host in ["localhost", "127.0.0.1"] {
            origins.extend(["http", "https"].map(|scheme| format!("{scheme}://{host}:*")));
        }
    }
    origins
}

/// Returns whether an entry of `AI_MCP_ORIGINS` can match: an origin, also with any port, as in `http://localhost:*`.
fn is_origin(text: &str) -> bool {
    CorsOrigin::parse(text.strip_suffix(":*").unwrap_or(text)).is_ok_and(|origin| !origin.is_any())
}

/// Returns the origin of a URL, with its port.
fn origin_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    match (has_port, scheme) {
        (true, _) => format!("{scheme}://{authority}"),
        (false, "http") => format!("{scheme}://{authority}:80"),
        (false, _) => format!("{scheme}://{authority}:443"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_a_scheme_and_no_path() {
        assert!(["https://agents.example.com:443", "http://localhost:*"].into_iter().all(is_origin));
        for text in ["agents.example.com", "*", "https://*.example.com", "https://example.com/mcp", "null"] {
            assert!(!is_origin(text), "{text}");
        }
    }

    #[test]
    fn an_origin_has_a_port() {
        for (url, origin) in [
            ("https://app.example.com", "https://app.example.com:443"),
            ("https://app.example.com/base/", "https://app.example.com:443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]", "http://[::1]:80"),
            ("http://[::1]:8080/x", "http://[::1]:8080"),
        ] {
            assert_eq!(origin_of(url), origin);
        }
    }
}
