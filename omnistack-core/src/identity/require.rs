//! What a route asks of its caller beyond being signed in.

use std::{borrow::Cow, time::Duration};

use http::{HeaderValue, StatusCode, header};

use super::Identity;
use crate::{
    clock::Clock,
    http::{
        Error, Request, Response,
        layer::{Step, step_layer},
    },
};

/// What a route asks of its caller: a permission, a recent sign-in, a second factor.
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
    #[cfg(feature = "flags")]
    flag: Option<Cow<'static, str>>,
}

impl Require {
    /// A flag that is on for the caller; see [`flag`](crate::flags::flag).
    #[cfg(feature = "flags")]
    pub fn flag(key: impl Into<Cow<'static, str>>) -> Self {
        Self::default().and_flag(key)
    }

    /// And a flag that is on for the caller. To others the route is not there, whatever else it asks.
    #[cfg(feature = "flags")]
    pub fn and_flag(mut self, key: impl Into<Cow<'static, str>>) -> Self {
        self.flag = Some(key.into());
        self
    }

    /// A permission in the caller's tenant.
    pub fn permission(permission: impl Into<Cow<'static, str>>) -> Self {
        Self { permission: Some(permission.into()), ..Self::default() }
    }

    /// A caller whose sign-in is no older than this.
    pub fn recent(within: Duration) -> Self {
        Self::default().signed_in_within(within)
    }

    /// And a sign-in no older than this.
    pub fn signed_in_within(mut self, within: Duration) -> Self {
        self.within = Some(within);
        self
    }

    /// And a sign-in with a second factor.
    pub fn second_factor(mut self) -> Self {
        self.second_factor = true;
        self
    }

    /// Whether it asks for more than a flag, which is looked at elsewhere.
    pub(crate) fn asks_of_caller(&self) -> bool {
        self.permission.is_some() || self.within.is_some() || self.second_factor
    }

    /// The flag it asks for.
    #[cfg(feature = "flags")]
    pub(crate) fn asked_flag(&self) -> Option<Cow<'static, str>> {
        self.flag.clone()
    }

    /// The permission it asks for.
    pub fn asked(&self) -> Option<&str> {
        self.permission.as_deref()
    }

    /// Whether a caller has what it asks.
    ///
    /// # Errors
    /// 403 `PERMISSION_DENIED` names the permission; 401 `REAUTHENTICATION_REQUIRED` and `SECOND_FACTOR_REQUIRED` say so in
    /// `WWW-Authenticate` as well (RFC 9470, section 3).
    pub fn check(&self, caller: &Identity, clock: &Clock) -> Result<(), Error> {
        if let Some(permission) = &self.permission {
            caller.require(permission)?;
        }
        if self.second_factor && !caller.proof.is_some_and(|proof| proof.second_factor) {
            let message = "this needs a sign-in with a second factor";
            return Err(step_up("SECOND_FACTOR_REQUIRED", message.into(), "acr_values=\"mfa\""));
        }
        if let Some(within) = self.within {
            let old = caller.proof.is_none_or(|proof| clock.now().since(proof.at) > within);
            if old {
                let seconds = within.as_secs();
                let message = format!("this needs a sign-in of the last {seconds} seconds: sign in again");
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
        Ok(challenge) => error.header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => error,
    }
}

/// Asks something of each caller, behind a [`Guard`](super::Guard).
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
/// // In a plain axum app; in an `App`, `Api::guarded` does it.
/// let layer = RequireLayer::new(Require::permission("tenant:transfer"), Clock::system());
/// let app = Router::new().route("/transfer", post(StatusCode::NO_CONTENT)).layer(layer);
/// # let request = || Request::post("/transfer").body(Body::empty());
///
/// let anonymous = app.clone().oneshot(request()?).await?;
/// assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
/// // As a guard around it leaves the caller there.
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
    /// Asks this.
    pub fn new(require: Require, clock: Clock) -> Self {
        Self { require, clock }
    }
}

step_layer!(RequireLayer);

impl Step for RequireLayer {
    type After = ();

    fn request(&self, request: &mut Request) -> Result<(), Response> {
        let caller = request.extensions().get::<Identity>().ok_or_else(|| Error::unauthorized("sign in first"));
        caller
            .and_then(|caller| self.require.check(caller, &self.clock))
            .map_err(axum::response::IntoResponse::into_response)
    }
}
