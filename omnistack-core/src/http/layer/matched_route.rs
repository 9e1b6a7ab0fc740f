//! The route's pattern, for those outside the router.

use axum::extract::MatchedPath;

use super::{After, Step, step_layer};
use crate::http::{Request, Response};

/// Repeats the pattern of the matched route (`/projects/{id}`) in the answer's extensions, so that layers around the
/// router can log and count by route. Put it on routes, not around the router.
#[derive(Clone, Copy, Debug, Default)]
pub struct MatchedRouteLayer;

step_layer!(MatchedRouteLayer);

impl Step for MatchedRouteLayer {
    type After = Option<Matched>;

    fn request(&self, request: &mut Request) -> Result<Self::After, Response> {
        Ok(request.extensions().get::<MatchedPath>().cloned().map(Matched))
    }
}

/// Repeats the pattern.
#[derive(Debug)]
pub struct Matched(MatchedPath);

impl After for Matched {
    fn response(self, response: &mut Response) {
        response.extensions_mut().insert(self.0);
    }
}
