//! Requirements of a route on its caller beyond being signed in.

use std::{borrow::Cow, time::Duration};

use http::{HeaderValue, StatusCode, header};

use super::{EntitlementLayer, GateSource, Identity};
use crate::{
    clock::Clock,
    context::{Context, MissingDependency},
    http::{
        Error, Request, Response,
        layer::{RequestHook, step_layer},
    },
};

/// Requirements of a route on its caller: a permission, a fresh sign-in, a second factor; and on the plan of its tenant.
///
/// ```
/// use std::time::Duration;
/// use omnistack_core::identity::Require;
///
/// let transfer = Require::permission("tenant:transfer").signed_in_within(Duration::from_secs(300)).second_factor();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Require {
    permission: Option<Cow<'static, str>>,
    within: Option<Duration>,
    second_factor: bool,
    gate: Option<GateSource>,
    feature: Option<Cow<'static, str>>,
    limit: Option<Cow<'static, str>>,
}

impl Require {
    /// Requires that a gate is open for the request. Otherwise the route does not exist, whatever else it requires.
    pub fn gate(gate: GateSource) -> Self {
        Self::default().and_gate(gate)
    }

    /// Also requires that a gate is open for the request.
    pub fn and_gate(mut self, gate: GateSource) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Requires that the plan of the caller's tenant includes a feature: see
    /// [`Entitlements::require_feature`](super::Entitlements::require_feature).
    pub fn feature(feature: impl Into<Cow<'static, str>>) -> Self {
        Self::default().and_feature(feature)
    }

    /// Also requires that the plan of the caller's tenant includes a feature.
    pub fn and_feature(mut self, feature: impl Into<Cow<'static, str>>) -> Self {
        self.feature = Some(feature.into());
        self
    }

    /// Requires that the plan of the caller's tenant allows one more of a
    /// [limited resource](crate::module::Registry::limited_resource): see
    /// [`Entitlements::check_limit`](super::Entitlements::check_limit).
    pub fn limit(resource: impl Into<Cow<'static, str>>) -> Self {
        Self::default().and_limit(resource)
    }

    /// Also requires that the plan of the caller's tenant allows one more of a limited resource.
    pub fn and_limit(mut self, resource: impl Into<Cow<'static, str>>) -> Self {
        self.limit = Some(resource.into());
        self
    }

    /// Returns the layers that check the plan of the caller's tenant.
    pub(crate) fn entitlement_layers(&self, ctx: &Context) -> Result<Vec<EntitlementLayer>, MissingDependency> {
        let mut layers = Vec::new();
        // The last layer is the outermost. A feature costs no query.
        if let Some(limit) = &self.limit {
            layers.push(EntitlementLayer::limit(ctx.get()?, ctx.get()?, limit.clone()));
        }
        if let Some(feature) = &self.feature {
            layers.push(EntitlementLayer::feature(ctx.get()?, feature.clone()));
        }
        Ok(layers)
    }

    /// Returns the limited resource of which the plan must allow one more.
    pub(crate) fn required_limit(&self) -> Option<&str> {
        self.limit.as_deref()
    }

    /// Requires a permission in the caller's tenant.
    pub fn permission(permission: impl Into<Cow<'static, str>>) -> Self {
        Self { permission: Some(permission.into()), ..Self::default() }
    }

    /// Requires a sign-in no older than `within`.
    pub fn fresh_sign_in(within: Duration) -> Self {
        Self::default().signed_in_within(within)
    }

    /// Also requires a sign-in no older than `within`.
    pub fn signed_in_within(mut self, within: Duration) -> Self {
        self.within = Some(within);
        self
    }

    /// Also requires a sign-in with a second factor.
    pub fn second_factor(mut self) -> Self {
        self.second_factor = true;
        self
    }

    /// Returns whether there are requirements on the caller. The gate is checked by a separate layer.
    pub(crate) fn has_caller_requirements(&self) -> bool {
        self.permission.is_some() || self.within.is_some() || self.second_factor
    }

    /// Returns the required gate.
    pub(crate) fn required_gate(&self) -> Option<&GateSource> {
        self.gate.as_ref()
    }

    /// Returns the required permission.
    pub fn required_permission(&self) -> Option<&str> {
        self.permission.as_deref()
    }

    /// Checks that a caller meets the requirements.
    ///
    /// # Errors
    /// 403 `PERMISSION_DENIED` with the permission in its details; 401 `REAUTHENTICATION_REQUIRED` or
    /// `SECOND_FACTOR_REQUIRED`, with a challenge in `WWW-Authenticate` (RFC 9470, section 3).
    pub fn check(&self, caller: &Identity, clock: &Clock) -> Result<(), Error> {
        if let Some(permission) = &self.permission {
            caller.require(permission)?;
        }
        if self.second_factor && !caller.authentication.is_some_and(|proof| proof.second_factor) {
            let message = "sign in with a second factor";
            return Err(step_up("SECOND_FACTOR_REQUIRED", message.into(), "acr_values=\"mfa\""));
        }
        if let Some(within) = self.within {
            let old =
                caller.authentication.is_none_or(|proof| clock.now().duration_since(proof.authenticated_at) > within);
            if old {
                let seconds = within.as_secs();
                let message = format!("the sign-in is older than {seconds} seconds; sign in again");
                return Err(step_up("REAUTHENTICATION_REQUIRED", message, &format!("max_age=\"{seconds}\"")));
            }
        }
        Ok(())
    }
}

fn step_up(code: &'static str, message: String, how: &str) -> Error {
    let challenge =
        format!("Bearer error=\"insufficient_user_authentication\", error_description=\"{message}\", {how}");
    let error = Error::new(StatusCode::UNAUTHORIZED, code, message);
    match HeaderValue::try_from(challenge) {
        Ok(challenge) => error.with_header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => error,
    }
}

/// A layer that applies a [`Require`] to every request, behind a [`GuardLayer`](super::GuardLayer).
///
/// ```
/// use axum::{Extension, Router, routing::post};
/// use omnistack_core::{clock::Clock, http::StatusCode, identity::{Identity, Require, RequireLayer}};
/// # use axum::{body::Body, http::Request};
/// # use omnistack_core::id::Id;
/// # use tower::ServiceExt as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let caller = Identity::user(Id::new(Clock::system().now()));
/// // For a plain axum app; in an `App`, use `Api::guarded`.
/// let layer = RequireLayer::new(Require::permission("tenant:transfer"), Clock::system());
/// let app = Router::new().route("/transfer", post(StatusCode::NO_CONTENT)).layer(layer);
/// # let request = || Request::post("/transfer").body(Body::empty());
///
/// let anonymous = app.clone().oneshot(request()?).await?;
/// assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
/// // A guard puts the caller into the extensions.
/// let known = app.layer(Extension(caller)).oneshot(request()?).await?;
/// assert_eq!(known.status(), StatusCode::FORBIDDEN);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RequireLayer {
    require: Require,
    clock: Clock,
}

impl RequireLayer {
    /// Creates a layer that checks these requirements against the clock.
    pub fn new(require: Require, clock: Clock) -> Self {
        Self { require, clock }
    }
}

step_layer!(RequireLayer);

impl RequestHook for RequireLayer {
    type After = ();

    fn request(&self, request: &mut Request) -> Result<(), Response> {
        let caller = request.extensions().get::<Identity>().ok_or_else(|| Error::unauthorized("sign in first"));
        caller
            .and_then(|caller| self.require.check(caller, &self.clock))
            .map_err(axum::response::IntoResponse::into_response)
    }
}
