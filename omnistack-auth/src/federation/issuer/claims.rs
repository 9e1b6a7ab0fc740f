//! Parses the claims of external access tokens: strictly where a claim decides, leniently where it only informs.
//!
//! A token is parsed once. The parsed value is both verified and used, so that no second parser can read it
//! differently. A token in which one of these claims occurs twice is refused (RFC 7519, section 4).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::clock::Timestamp;
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::verify::{LEEWAY, Refusal};

/// The maximum length of a token, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The maximum length of `kid` and `sub`, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// A parsed token. Its signature is not verified yet.
pub(crate) struct ParsedToken<'t> {
    pub(crate) header: Header,
    pub(crate) claims: Claims,
    /// The signed part: header and claims.
    pub(crate) message: &'t str,
    pub(crate) signature: &'t str,
}

impl<'t> ParsedToken<'t> {
    /// Parses a token. Fails if it is too long or malformed, or has critical header extensions.
    pub(crate) fn parse(token: &'t str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err("too long");
        }
        let (message, signature) = token.rsplit_once('.').ok_or("not a token")?;
        let (header, claims) = message.split_once('.').ok_or("not a token")?;
        let header: Header = decode_part(header).ok_or("the header can't be parsed")?;
        let claims: Claims = decode_part(claims).ok_or("the claims can't be parsed, or iss, sub or exp is absent")?;
        if header.crit.is_some() {
            return Err("critical extensions that are not supported");
        }
        if header.kid.as_deref().is_some_and(|kid| !is_plain_name(kid)) {
            return Err("an invalid key id");
        }
        if !is_plain_name(&claims.sub) {
            return Err("an invalid subject");
        }
        Ok(Self { header, claims, message, signature })
    }
}

/// Decodes one base64url part of a token. Returns `None` if it is malformed.
fn decode_part<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Returns whether the text can be stored and shown: 1 to 255 bytes, without control characters.
pub(crate) fn is_plain_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// The header parameters that are used (RFC 7515, section 4.1). The parameters that name keys (`jku`, `jwk`, `x5u`,
/// `x5c`) are not read, since a token must not choose its own key.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    #[serde(default, deserialize_with = "deserialize_present")]
    pub(crate) kid: Option<String>,
    #[serde(default, deserialize_with = "deserialize_present")]
    pub(crate) typ: Option<String>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

/// The claims that are used.
#[derive(Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    /// Seconds since 1970, as are `nbf` and `iat`.
    pub(crate) exp: i64,
    #[serde(default, deserialize_with = "deserialize_present")]
    pub(crate) nbf: Option<i64>,
    #[serde(default, deserialize_with = "deserialize_present")]
    pub(crate) iat: Option<i64>,
    #[serde(default, deserialize_with = "deserialize_present")]
    pub(crate) aud: Option<Audience>,
    #[serde(default, deserialize_with = "deserialize_present")]
    pub(crate) azp: Option<String>,

    // The user's profile.
    #[serde(default)]
    pub(crate) email: LenientOption<String>,
    #[serde(default)]
    pub(crate) email_verified: LenientOption<LenientBool>,
    #[serde(default)]
    pub(crate) name: LenientOption<String>,
    #[serde(default)]
    pub(crate) preferred_username: LenientOption<String>,
    #[serde(default)]
    pub(crate) picture: LenientOption<String>,
    #[serde(default)]
    pub(crate) locale: LenientOption<String>,
    /// The profile at Supabase. Users can change it themselves, so it proves nothing.
    #[serde(default)]
    pub(crate) user_metadata: LenientOption<SupabaseUserProfile>,

    // The authentication of the user.
    #[serde(default)]
    pub(crate) auth_time: LenientOption<i64>,
    #[serde(default)]
    pub(crate) amr: LenientOption<Vec<AuthenticationMethod>>,
    #[serde(default)]
    pub(crate) acr: LenientOption<String>,
    /// The authenticator assurance level at Supabase.
    #[serde(default)]
    pub(crate) aal: LenientOption<String>,
    /// The factor verification age at Clerk: minutes since the first and the second factor were verified, -1 for never.
    #[serde(default)]
    pub(crate) fva: LenientOption<(i64, i64)>,

    // The type of the token.
    #[serde(default)]
    pub(crate) typ: LenientOption<String>,
    #[serde(default)]
    pub(crate) role: LenientOption<String>,
    #[serde(default)]
    pub(crate) sts: LenientOption<String>,
    #[serde(default)]
    pub(crate) gty: LenientOption<String>,
    #[serde(default)]
    pub(crate) client_id: LenientOption<String>,
    #[serde(default)]
    pub(crate) act: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) nonce: Option<serde_json::Value>,
    #[serde(default)]
    pub(crate) at_hash: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) c_hash: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) s_hash: Option<IgnoredAny>,
}

impl Claims {
    /// Returns the expiry with the leeway.
    pub(crate) fn accepted_until(&self) -> Timestamp {
        Timestamp::from_micros(self.exp.saturating_add(LEEWAY).saturating_mul(1_000_000))
    }

    /// Returns the time of issue, in seconds since 1970, if the token has it.
    pub(crate) fn issued_at(&self) -> Option<i64> {
        self.iat
    }
}

/// The claim `aud`: one audience, or several (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub(crate) fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

/// An authentication method: a name (RFC 8176), or Supabase's name and time.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum AuthenticationMethod {
    Named(String),
    Timed { timestamp: i64 },
    Other(IgnoredAny),
}

/// The profile that Supabase stores of a user who signed in with another provider.
#[derive(Default, Deserialize)]
pub(crate) struct SupabaseUserProfile {
    #[serde(default)]
    pub(crate) full_name: LenientOption<String>,
    #[serde(default)]
    pub(crate) name: LenientOption<String>,
    #[serde(default)]
    pub(crate) avatar_url: LenientOption<String>,
    #[serde(default)]
    pub(crate) picture: LenientOption<String>,
}

/// A boolean, which some issuers write as text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum LenientBool {
    Plain(bool),
    Text(String),
}

impl LenientBool {
    pub(crate) fn is(&self) -> bool {
        match self {
            Self::Plain(truth) => *truth,
            Self::Text(text) => text == "true",
        }
    }
}

/// An optional value that counts as absent if its type is wrong.
pub(crate) struct LenientOption<T>(Option<T>);

impl<T> LenientOption<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl LenientOption<String> {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.0.as_deref() == Some(text)
    }

    pub(crate) fn starts_with(&self, start: &str) -> bool {
        self.0.as_deref().is_some_and(|text| text.starts_with(start))
    }
}

impl<T> Default for LenientOption<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for LenientOption<T> {
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

/// Deserialises a value that is present. `null` is a wrong type.
fn deserialize_present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
