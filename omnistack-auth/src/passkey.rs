//! Passkeys: credentials on users' devices that sign in without a password and without a user name (Web
//! Authentication Level 3).
//!
//! The page requests options, passes them to the browser, and returns what the device has signed. The options contain
//! a challenge that is used once and valid for five minutes. The server stores the state of the ceremony under a
//! token that only the requesting page has. The device verifies its user by a biometric or a PIN, so a passkey is two
//! factors in one: something the user has, and something the user is or knows.
//!
//! Passkeys are bound to a domain, and browsers use them on no other, so a user on a phishing site has nothing to
//! give away.

#[cfg(feature = "passkeys")]
pub(crate) mod store;

use std::{fmt, net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use omnistack_core::{clock::Timestamp, config::PublicUrl, http, id::Id};
use reqwest::Url;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey as Credential, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Webauthn, WebauthnBuilder, WebauthnError,
};

use crate::{Error, one_time_tokens::TokenPurpose, settings::PasskeySettings, users::store::accounts::Account};

/// The id of a passkey.
pub(crate) type PasskeyId = Id<Passkey>;

/// The maximum number of passkeys of a user.
pub(crate) const MAX_PASSKEYS_PER_USER: i64 = 20;

/// A passkey as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema, omnistack_core::db::FromRow)]
pub(crate) struct Passkey {
    /// The id of the passkey.
    pub(crate) id: PasskeyId,
    /// The name that the user has given the passkey.
    pub(crate) name: String,
    /// The time of creation.
    pub(crate) created_at: Timestamp,
    /// The time of the last sign-in with the passkey; `null` if there was none.
    #[schema(required)]
    pub(crate) last_used_at: Option<Timestamp>,
}

/// The start of a WebAuthn ceremony, for the page to pass to the browser.
pub(crate) struct Ceremony {
    /// The token of the ceremony, which the page returns with the signed credential.
    pub(crate) token: SecretString,
    /// The options: `PublicKeyCredentialCreationOptionsJSON` or `PublicKeyCredentialRequestOptionsJSON`.
    pub(crate) options: Value,
}

/// A reason for which a signed credential is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasskeyRefusal {
    /// No user has the passkey.
    Unknown,
    /// The signature is missing or invalid, or the credential is for another site, another challenge, or without user
    /// verification.
    Invalid,
    /// The signature counter went backwards: the passkey may have been cloned.
    Counter,
}

impl PasskeyRefusal {
    /// Returns the reason as recorded in the audit log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::Counter => "counter",
        }
    }
}

/// The app as a WebAuthn relying party.
#[derive(Clone)]
pub(crate) struct RelyingParty(Arc<Webauthn>);

impl RelyingParty {
    /// Creates the relying party for the app's public URL. Returns `None` if its host is not a domain, because
    /// browsers have no passkeys there; a loopback address counts as `localhost`.
    ///
    /// # Errors
    /// Returns the problem with the settings, and its fix.
    pub(crate) fn new(
        public_url: &PublicUrl,
        settings: &PasskeySettings,
        product: &str,
    ) -> Result<Option<Self>, (String, &'static str)> {
        let address = |text: &str, name: &str| {
            let problem =
                || (format!("`{name}` is not a URL: `{text}`"), "set it to a URL such as `https://app.example.com`");
            Url::parse(text).map_err(|_| problem())
        };
        let mut origin = address(public_url.as_str(), "PUBLIC_URL")?;
        let host = origin.host_str().unwrap_or_default().trim_matches(['[', ']']).parse::<IpAddr>();
        if host.is_ok_and(|host| host.is_loopback()) {
            _ = origin.set_host(Some("localhost"));
        }
        let Some(host) = origin.domain().map(str::to_owned) else { return Ok(None) };
        let domain = settings.domain.as_deref().unwrap_or(&host).to_ascii_lowercase();
        let party = WebauthnBuilder::new(&domain, &origin).map_err(|_| {
            let what = format!("`AUTH_PASSKEY_DOMAIN` is `{domain}`, and `PUBLIC_URL` is not in that domain");
            (what, "set it to the host of `PUBLIC_URL`, or to a parent domain of it")
        })?;
        let mut party = party.rp_name(product).timeout(TokenPurpose::PasskeySignIn.lifetime());
        for other in &settings.origins {
            party = party.append_allowed_origin(&address(other, "AUTH_PASSKEY_ORIGINS")?);
        }
        let party = party.build().map_err(|error| {
            (format!("passkey settings are invalid: {error}"), "check `AUTH_PASSKEY_DOMAIN` and `AUTH_PASSKEY_ORIGINS`")
        })?;
        Ok(Some(Self(Arc::new(party))))
    }

    /// Returns the options for the creation of a passkey in addition to the `known` ones, and the state to store
    /// until it is created.
    pub(crate) fn start_registration(&self, account: &Account, known: &[String]) -> Result<(Value, String), Error> {
        let known = read_all(known)?.iter().map(|passkey| passkey.cred_id().clone()).collect();
        let name = account.email.as_deref().filter(|email| !email.is_empty()).unwrap_or(&account.name);
        let name = if name.is_empty() { "user" } else { name };
        let shown = if account.name.is_empty() { name } else { &account.name };
        let (options, state) = self
            .0
            .start_passkey_registration(account.id.uuid(), name, shown, Some(known))
            .map_err(http::Error::internal)?;
        let mut options = public_key(&options)?;
        // A device must store a passkey that signs in without a user name.
        options["authenticatorSelection"]["residentKey"] = json!("required");
        options["authenticatorSelection"]["requireResidentKey"] = json!(true);
        Ok((options, write(&state)?))
    }

    /// Verifies a new passkey. Returns its credential id and the credential to store, or the reason for the refusal.
    pub(crate) fn finish_registration(
        &self,
        state: &str,
        made: &RegisterPublicKeyCredential,
    ) -> Result<Result<(Vec<u8>, String), PasskeyRefusal>, Error> {
        let state: PasskeyRegistration = read(state)?;
        match self.0.finish_passkey_registration(made, &state) {
            Ok(passkey) => Ok(Ok((passkey.cred_id().clone(), write(&passkey)?))),
            Err(error) => Ok(Err(refusal(&error))),
        }
    }

    /// Returns the options for presenting one of the `known` passkeys, or any passkey if there are none, and the
    /// state to store until it is presented.
    pub(crate) fn start_authentication(&self, known: &[String]) -> Result<(Value, String), Error> {
        let (options, state) = self.0.start_discoverable_authentication().map_err(http::Error::internal)?;
        let mut options = public_key(&options)?;
        if !known.is_empty() {
            let one =
                |passkey: &Credential| json!({ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(passkey.cred_id()) });
            options["allowCredentials"] = read_all(known)?.iter().map(one).collect();
        }
        Ok((options, write(&state)?))
    }

    /// Returns the user handle and the credential id that a credential claims, or `None` if it has none.
    pub(crate) fn claimed_user<'a>(&self, shown: &'a PublicKeyCredential) -> Option<(uuid::Uuid, &'a [u8])> {
        self.0.identify_discoverable_authentication(shown).ok()
    }

    /// Verifies that the credential was signed by a passkey. Returns the updated credential to store, or the reason
    /// for the refusal.
    pub(crate) fn finish_authentication(
        &self,
        state: &str,
        shown: &PublicKeyCredential,
        credential: &str,
    ) -> Result<Result<String, PasskeyRefusal>, Error> {
        let (state, mut passkey): (DiscoverableAuthentication, Credential) = (read(state)?, read(credential)?);
        match self.0.finish_discoverable_authentication_v2(shown, state, &passkey) {
            // User verification is required by the options, but the library does not check it here.
            Ok(result) if !result.user_verified() => Ok(Err(PasskeyRefusal::Invalid)),
            Ok(result) => {
                _ = passkey.update_credential(&result);
                Ok(Ok(write(&passkey)?))
            }
            Err(error) => Ok(Err(refusal(&error))),
        }
    }
}

/// The maximum length of a credential id, in bytes (section 5.8.3 of the specification).
pub(crate) const MAX_CREDENTIAL_ID_BYTES: usize = 1023;

/// Logs a refused credential and returns the reason.
fn refusal(error: &WebauthnError) -> PasskeyRefusal {
    tracing::debug!(target: "omnistack::auth", ?error, "a passkey is refused");
    if matches!(error, WebauthnError::CredentialPossibleCompromise) {
        PasskeyRefusal::Counter
    } else {
        PasskeyRefusal::Invalid
    }
}

/// Returns the inner object that browsers take.
fn public_key(options: &impl Serialize) -> Result<Value, Error> {
    let mut options = serde_json::to_value(options).map_err(http::Error::internal)?;
    Ok(options["publicKey"].take())
}

fn write(state: &impl Serialize) -> Result<String, Error> {
    Ok(serde_json::to_string(state).map_err(http::Error::internal)?)
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    Ok(serde_json::from_str(text).map_err(http::Error::internal)?)
}

fn read_all(known: &[String]) -> Result<Vec<Credential>, Error> {
    known.iter().map(|passkey| read(passkey)).collect()
}

impl fmt::Debug for RelyingParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelyingParty")
    }
}
