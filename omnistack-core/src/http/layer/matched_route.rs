//! The route's pattern, for those outside the router.

use axum::extract::MatchedPath;

use super::{Step, step_layer};
use crate::http::{Request, Response};

/// Repeats the pattern of the matched route (`/projects/{id}`) in the answer's extensions, so that layers around the
/// router can log and count by route. Put it on routes, not around the router.
#[derive(Clone, Copy, Debug, Default)]
pub struct MatchedRouteLayer;

step_layer!(MatchedRouteLayer);

impl Step for MatchedRouteLayer {
    type Memo = Option<MatchedPath>;

    fn request(&self, request: &mut Request) -> Result<Self::Memo, Response> {
        Ok(request.extensions().get::<MatchedPath>().cloned())
    }

    fn response(&self, route: Self::Memo, response: &mut Response) {
        if let Some(route) = route {
            response.extensions_mut().insert(route);
        }
    }
}
