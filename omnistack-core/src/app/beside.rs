//! Routes of another app: beside those of the app, and inside its middleware stack.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fmt::Write as _,
    task::{Context, Poll},
};

use axum::{
    Router,
    extract::{MatchedPath, OriginalUri},
    routing::future::RouteFuture,
};
use tower::Service;

use super::AppService;
use crate::{
    http::{Request, Response, layer::UnversionedUri},
    module::RouteInfo,
};

/// The beginning of the names of parameters that axum does not pass to handlers: it uses them for nested routers. The
/// app's own router reads the parameters of a path, so the router around it must not pass them as well: an extractor
/// would find each parameter twice.
const HIDDEN_PARAMETER: &str = "__private__axum_nest_tail_param";

/// Returns a router with exactly the paths of the app. It has no fallback, so that it can be merged with a router that
/// has one. The page at `/` is left out, unless a module serves it.
pub(super) fn router(app: &AppService, routes: &[RouteInfo]) -> Router {
    let paths = routes.iter().filter(|route| !(route.path == "/" && route.module == "core"));
    let paths: BTreeSet<String> = paths.map(|route| with_hidden_parameters(&route.path)).collect();
    paths.iter().fold(Router::new(), |router, path| router.route_service(path, RouteBeside(app.clone())))
}

/// Returns a route pattern with hidden parameters in place of its own.
fn with_hidden_parameters(pattern: &str) -> String {
    let (mut hidden, mut rest, mut number) = (String::with_capacity(pattern.len()), pattern, 0);
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        hidden.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            hidden.push_str("{{");
            rest = after;
            continue;
        }
        let tail = if from.starts_with("{*") { "*" } else { "" };
        _ = write!(hidden, "{{{tail}{HIDDEN_PARAMETER}_{number}}}");
        number += 1;
        rest = from.split_once('}').map_or("", |(_, after)| after);
    }
    hidden.push_str(rest);
    hidden
}

/// A route of the app in another router.
#[derive(Clone)]
struct RouteBeside(AppService);

impl Service<Request> for RouteBeside {
    type Response = Response;
    type Error = Infallible;
    type Future = <AppService as Service<Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // The app's router would append its own pattern to that of the router around it.
        request.extensions_mut().remove::<MatchedPath>();
        self.0.call(request)
    }
}

/// A router that gets the requests that match no route of the app.
#[derive(Clone)]
pub(super) struct FallbackRouter(pub(super) Router);

impl Service<Request> for FallbackRouter {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.0, cx)
    }

    /// Undoes the version that the app has added to a path under `/api`, since the other app has no such versions.
    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(UnversionedUri(uri)) = request.extensions_mut().remove() {
            request.extensions_mut().insert(OriginalUri(uri.clone()));
            *request.uri_mut() = uri;
        }
        self.0.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::with_hidden_parameters;

    #[test]
    fn parameters_are_hidden_and_nothing_else() {
        for (pattern, expected) in [
            ("/health", "/health"),
            ("/a/{id}/b/{*rest}", "/a/{P_0}/b/{*P_1}"),
            ("/a/{{b}}/{id}", "/a/{{b}}/{P_0}"),
            ("/docs/", "/docs/"),
        ] {
            assert_eq!(with_hidden_parameters(pattern).replace(super::HIDDEN_PARAMETER, "P"), expected);
        }
    }
}
