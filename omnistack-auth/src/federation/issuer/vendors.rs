//! The differences between identity providers.

use omnistack_core::{clock::Timestamp, identity::AuthenticationContext};

use super::{
    claims::{AuthenticationMethod, Claims},
    verify::Refusal,
};

/// The vendor of an identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    /// Any provider that follows the standards.
    Standard,
    Clerk,
    Supabase,
    Auth0,
    Keycloak,
}

/// The `acr` value of a sign-in with several factors (OpenID Provider Authentication Policy Extension).
const SEVERAL_FACTORS: &str = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";

impl Vendor {
    /// Returns whether `aud` is ignored if no audience is set. Keycloak names `account` and every client in which the
    /// user has roles; `azp` names the client the token is for.
    pub(crate) fn ignores_audience(self) -> bool {
        self == Self::Keycloak
    }

    /// Fails unless the token is an access token of a person.
    pub(crate) fn check(self, claims: &Claims) -> Result<(), Refusal> {
        // OpenID Connect Core, sections 2 and 3.3.2.11. Keycloak wrote a nonce into access tokens as well until 25.
        let hashes = [&claims.at_hash, &claims.c_hash, &claims.s_hash].iter().any(|hash| hash.is_some());
        if hashes || (claims.nonce.is_some() && self != Self::Keycloak) {
            return Err("an ID token, not an access token");
        }
        // RFC 9068, section 5: a token that a program got for itself has no user.
        if claims.client_id.is(&claims.sub) || claims.gty.is("client-credentials") {
            return Err("issued for a program, not a user");
        }
        match self {
            Self::Supabase if !claims.role.is("authenticated") => Err("a role other than `authenticated`"),
            Self::Keycloak if !claims.typ.is("Bearer") => Err("not an access token"),
            Self::Keycloak if claims.preferred_username.starts_with("service-account-") => {
                Err("issued for a program, not a user")
            }
            // The user has signed in but has not completed the tasks that Clerk requires.
            Self::Clerk if claims.sts.is("pending") => Err("the session is pending"),
            _ => Ok(()),
        }
    }

    /// Returns the time of the sign-in, and whether it included a second factor. The token's time of issue is not used
    /// for it, since refreshes issue tokens too.
    pub(crate) fn proof(self, claims: &Claims) -> Option<AuthenticationContext> {
        let methods = claims.amr.get().map(Vec::as_slice).unwrap_or_default();
        let named = methods.iter().any(|method| matches!(method, AuthenticationMethod::Named(name) if name == "mfa"));
        let mut second_factor = named || claims.acr.is(SEVERAL_FACTORS);
        let mut seconds = claims.auth_time.get().copied();
        match (self, claims.fva.get()) {
            (Self::Clerk, Some((first, second))) => {
                second_factor |= *second >= 0;
                let ago = first.checked_mul(60).filter(|ago| *ago >= 0);
                seconds = claims.iat.zip(ago).and_then(|(made, ago)| made.checked_sub(ago));
            }
            (Self::Supabase, _) => {
                second_factor |= claims.aal.is("aal2");
                let time = |method: &AuthenticationMethod| match method {
                    AuthenticationMethod::Timed { timestamp } => Some(*timestamp),
                    AuthenticationMethod::Named(_) | AuthenticationMethod::Other(_) => None,
                };
                seconds = methods.iter().filter_map(time).max().or(seconds);
            }
            _ => {}
        }
        // The sign-in can't be later than the token.
        let seconds = seconds.map(|seconds| claims.iat.map_or(seconds, |made| seconds.min(made)));
        let at = seconds.map(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000)));
        // A second factor counts even if its time is unknown.
        (at.is_some() || second_factor)
            .then(|| AuthenticationContext { authenticated_at: at.unwrap_or_default(), second_factor })
    }
}
