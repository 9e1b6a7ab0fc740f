//! What a token of another issuer says, with strict types where they decide and lenient ones where they only inform.
//!
//! A token is read once, and what is read is what is verified and what is used: no second parser that could see
//! something else. A claim that is looked at and comes twice refuses the token (RFC 7519, section 4).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::clock::Timestamp;
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::verify::{LEEWAY, Refusal};

/// The longest token that is looked at, in bytes.
pub(crate) const LONGEST: usize = 16 * 1024;
/// The longest `kid` and `sub`, in bytes.
const NAME: usize = 255;

/// A token in its parts. Nothing is verified yet.
pub(crate) struct Presented<'t> {
    pub(super) header: Header,
    pub(crate) claims: Claims,
    /// What is signed.
    pub(super) message: &'t str,
    pub(super) signature: &'t str,
}

impl<'t> Presented<'t> {
    pub(crate) fn parse(token: &'t str) -> Result<Self, Refusal> {
        if token.len() > LONGEST {
            return Err("too long");
        }
        let (message, signature) = token.rsplit_once('.').ok_or("not a token")?;
        let (header, claims) = message.split_once('.').ok_or("not a token")?;
        let header: Header = part(header).ok_or("a header that can't be read")?;
        let claims: Claims = part(claims).ok_or("claims that can't be read, or lack iss, sub or exp")?;
        if header.crit.is_some() {
            return Err("extensions nobody here knows");
        }
        if header.kid.as_deref().is_some_and(|kid| !plain(kid)) {
            return Err("a key id that is none");
        }
        if !plain(&claims.sub) {
            return Err("a subject that is none");
        }
        Ok(Self { header, claims, message, signature })
    }
}

fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Whether it can be kept and shown: not empty, not long, without control characters.
pub(crate) fn plain(name: &str) -> bool {
    (1..=NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// What of a header is looked at (RFC 7515, section 4.1). Where keys are (`jku`, `jwk`, `x5u`, `x5c`) is not the token's to
/// say, so that is not even read.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default, deserialize_with = "told")]
    pub(super) kid: Option<String>,
    #[serde(default, deserialize_with = "told")]
    pub(super) typ: Option<String>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

/// What of the claims is looked at.
#[derive(Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    /// Seconds since 1970, as are the next two.
    pub(crate) exp: i64,
    #[serde(default, deserialize_with = "told")]
    pub(super) nbf: Option<i64>,
    #[serde(default, deserialize_with = "told")]
    pub(super) iat: Option<i64>,
    #[serde(default, deserialize_with = "told")]
    pub(super) aud: Option<Audience>,
    #[serde(default, deserialize_with = "told")]
    pub(super) azp: Option<String>,

    // What a user is like.
    #[serde(default)]
    pub(super) email: Loose<String>,
    #[serde(default)]
    pub(super) email_verified: Loose<Truth>,
    #[serde(default)]
    pub(super) name: Loose<String>,
    #[serde(default)]
    pub(super) preferred_username: Loose<String>,
    #[serde(default)]
    pub(super) picture: Loose<String>,
    #[serde(default)]
    pub(super) locale: Loose<String>,
    /// Supabase's; users change it themselves, so it proves nothing.
    #[serde(default)]
    pub(super) user_metadata: Loose<Metadata>,

    // How they signed in.
    #[serde(default)]
    pub(super) auth_time: Loose<i64>,
    #[serde(default)]
    pub(super) amr: Loose<Vec<Method>>,
    #[serde(default)]
    pub(super) acr: Loose<String>,
    /// Supabase's level of assurance.
    #[serde(default)]
    pub(super) aal: Loose<String>,
    /// Clerk's: minutes since the first and the second factor were shown, -1 for never.
    #[serde(default)]
    pub(super) fva: Loose<(i64, i64)>,

    // What kind of token it is.
    #[serde(default)]
    pub(super) typ: Loose<String>,
    #[serde(default)]
    pub(super) role: Loose<String>,
    #[serde(default)]
    pub(super) sts: Loose<String>,
    #[serde(default)]
    pub(super) gty: Loose<String>,
    #[serde(default)]
    pub(super) client_id: Loose<String>,
    #[serde(default)]
    pub(super) act: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) nonce: Option<serde_json::Value>,
    #[serde(default)]
    pub(super) at_hash: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) c_hash: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) s_hash: Option<IgnoredAny>,
}

impl Claims {
    /// Until when it is good.
    pub(crate) fn good_until(&self) -> Timestamp {
        Timestamp::from_micros(self.exp.saturating_add(LEEWAY).saturating_mul(1_000_000))
    }

    /// When the token was made, in seconds since 1970, if it tells.
    pub(super) fn made(&self) -> Option<i64> {
        self.iat
    }
}

/// `aud`: one, or several (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub(super) fn has(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

/// A way of signing in: a name (RFC 8176), or Supabase's name and time.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Method {
    Named(String),
    Timed { timestamp: i64 },
    Other(IgnoredAny),
}

/// What Supabase knows of who signed in elsewhere.
#[derive(Default, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) full_name: Loose<String>,
    #[serde(default)]
    pub(super) name: Loose<String>,
    #[serde(default)]
    pub(super) avatar_url: Loose<String>,
    #[serde(default)]
    pub(super) picture: Loose<String>,
}

/// A boolean; some issuers write it as text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Truth {
    Plain(bool),
    Text(String),
}

impl Truth {
    pub(super) fn is(&self) -> bool {
        match self {
            Self::Plain(truth) => *truth,
            Self::Text(text) => text == "true",
        }
    }
}

/// What informs, and is left out when it has another type.
pub(super) struct Loose<T>(Option<T>);

impl<T> Loose<T> {
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl Loose<String> {
    pub(super) fn is(&self, text: &str) -> bool {
        self.0.as_deref() == Some(text)
    }

    pub(super) fn begins(&self, start: &str) -> bool {
        self.0.as_deref().is_some_and(|text| text.starts_with(start))
    }
}

impl<T> Default for Loose<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<T> {
            Is(T),
            Other(IgnoredAny),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Is(value) => Self(Some(value)),
            Either::Other(_) => Self(None),
        })
    }
}

/// There: `null` is a wrong type like any other.
fn told<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
