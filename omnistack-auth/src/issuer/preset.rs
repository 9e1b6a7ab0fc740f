//! What is particular to each provider.

use omnistack_core::{clock::Timestamp, identity::Proof};

use super::{
    claims::{Claims, Method},
    verify::Refusal,
};

/// Whose tokens they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    /// Anybody's who follows the standards.
    Plain,
    Clerk,
    Supabase,
    Auth0,
    Keycloak,
}

/// What a sign-in with several factors is called (OpenID Provider Authentication Policy Extension).
const SEVERAL_FACTORS: &str = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";

impl Preset {
    /// Keycloak names `account` and whatever else its user has roles in; whom a token is for is its `azp`.
    pub(super) fn has_audiences_of_its_own(self) -> bool {
        self == Self::Keycloak
    }

    /// Whether it is a token of the kind an API is called with, of a person who has signed in.
    pub(super) fn check(self, claims: &Claims) -> Result<(), Refusal> {
        // OpenID Connect Core, sections 2 and 3.3.2.11. Keycloak wrote a nonce into access tokens as well until 25.
        let hashes = [&claims.at_hash, &claims.c_hash, &claims.s_hash].iter().any(|hash| hash.is_some());
        if hashes || (claims.nonce.is_some() && self != Self::Keycloak) {
            return Err("an ID token");
        }
        // RFC 9068, section 5: a program that got a token for itself is nobody's user.
        if claims.client_id.is(&claims.sub) || claims.gty.is("client-credentials") {
            return Err("of a program");
        }
        match self {
            Self::Supabase if !claims.role.is("authenticated") => Err("of another role"),
            Self::Keycloak if !claims.typ.is("Bearer") => Err("no access token"),
            Self::Keycloak if claims.preferred_username.begins("service-account-") => Err("of a program"),
            // The user has signed in, but not yet done what Clerk asks of them.
            Self::Clerk if claims.sts.is("pending") => Err("of a session that is pending"),
            _ => Ok(()),
        }
    }

    /// When the user signed in, and whether with a second factor. When the token was *made* says nothing of that: a
    /// refresh makes one too.
    pub(super) fn proof(self, claims: &Claims) -> Option<Proof> {
        let methods = claims.amr.get().map(Vec::as_slice).unwrap_or_default();
        let named = methods.iter().any(|method| matches!(method, Method::Named(name) if name == "mfa"));
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
                let time = |method: &Method| match method {
                    Method::Timed { timestamp } => Some(*timestamp),
                    Method::Named(_) | Method::Other(_) => None,
                };
                seconds = methods.iter().filter_map(time).max().or(seconds);
            }
            _ => {}
        }
        // A token can't tell of what comes after it.
        let seconds = seconds.map(|seconds| claims.iat.map_or(seconds, |made| seconds.min(made)));
        let at = seconds.map(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000)));
        // A second factor of nobody knows when is one all the same.
        (at.is_some() || second_factor).then(|| Proof { at: at.unwrap_or_default(), second_factor })
    }
}
