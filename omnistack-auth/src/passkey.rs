//! Passkeys: keys on users' devices that sign them in, without a password and without a name (Web Authentication Level 3).
//!
//! A page asks for options, hands them to the browser, and brings back what the device has signed. The options carry a
//! challenge that is good once, for five minutes; what belongs to it is kept here, and known by a token that only the page
//! has that asked. The device shows that its user is there and is the one it knows, by a finger or a PIN, so a passkey is
//! two factors in one: something they have, and something they are or know.
//!
//! Passkeys belong to a domain, and browsers use them nowhere else: whoever is lured to another site has nothing to give
//! away there.

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

use crate::{Error, config::PasskeySettings, one_time::Purpose, store::account::Account};

/// The id of a passkey.
pub(crate) type PasskeyId = Id<Passkey>;

/// How many a user may have.
pub(crate) const MOST: i64 = 20;

/// A passkey, as its user sees it.
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct Passkey {
    pub(crate) id: PasskeyId,
    /// What its user calls it.
    pub(crate) name: String,
    /// Since when it signs in.
    pub(crate) created_at: Timestamp,
    /// When it did so last.
    #[schema(required)]
    pub(crate) last_used_at: Option<Timestamp>,
}

/// What a page hands to the browser, once.
pub(crate) struct Ceremony {
    /// Comes back with what the device has signed.
    pub(crate) token: SecretString,
    /// `PublicKeyCredentialCreationOptionsJSON` or `PublicKeyCredentialRequestOptionsJSON`.
    pub(crate) options: Value,
}

/// Why something a device has signed is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No user has such a passkey.
    Unknown,
    /// It is not signed, or for another site, another challenge, or without its user.
    Invalid,
    /// It has signed less often than it had before: there may be two of it.
    Counter,
}

impl Refusal {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::Counter => "counter",
        }
    }
}

/// The app, as devices know it.
#[derive(Clone)]
pub(crate) struct RelyingParty(Arc<Webauthn>);

impl RelyingParty {
    /// Of the app at this address; none for one that is no domain, where browsers have no passkeys. This machine's own
    /// address stands for `localhost`.
    ///
    /// # Errors
    /// What is wrong with the settings, and what to do about it.
    pub(crate) fn new(
        public_url: &PublicUrl,
        settings: &PasskeySettings,
        product: &str,
    ) -> Result<Option<Self>, (String, &'static str)> {
        let address = |text: &str, name: &str| {
            let problem = || (format!("`{name}` is no address: `{text}`"), "write `https://app.example.com`");
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
            let what = format!("`AUTH_PASSKEY_DOMAIN` is `{domain}`, and `PUBLIC_URL` is not there");
            (what, "set it to the host of `PUBLIC_URL`, or to a domain that one belongs to")
        })?;
        let mut party = party.rp_name(product).timeout(Purpose::Passkey.lifetime());
        for other in &settings.origins {
            party = party.append_allowed_origin(&address(other, "AUTH_PASSKEY_ORIGINS")?);
        }
        let party =
            party.build().map_err(|error| (format!("passkeys can't be had: {error}"), "look at its settings"))?;
        Ok(Some(Self(Arc::new(party))))
    }

    /// What makes a new passkey of a user beside these, and what is to be kept until it comes.
    pub(crate) fn create(&self, account: &Account, known: &[String]) -> Result<(Value, String), Error> {
        let known = read_all(known)?.iter().map(|passkey| passkey.cred_id().clone()).collect();
        let name = account.email.as_deref().filter(|email| !email.is_empty()).unwrap_or(&account.name);
        let name = if name.is_empty() { "user" } else { name };
        let shown = if account.name.is_empty() { name } else { &account.name };
        let (options, state) = self
            .0
            .start_passkey_registration(account.id.uuid(), name, shown, Some(known))
            .map_err(http::Error::internal)?;
        let mut options = public_key(&options)?;
        // One that signs in without a name has to be kept by the device.
        options["authenticatorSelection"]["residentKey"] = json!("required");
        options["authenticatorSelection"]["requireResidentKey"] = json!(true);
        Ok((options, write(&state)?))
    }

    /// The passkey a device has made: its id there, and what is kept of it.
    pub(crate) fn created(
        &self,
        state: &str,
        made: &RegisterPublicKeyCredential,
    ) -> Result<Result<(Vec<u8>, String), Refusal>, Error> {
        let state: PasskeyRegistration = read(state)?;
        match self.0.finish_passkey_registration(made, &state) {
            Ok(passkey) => Ok(Ok((passkey.cred_id().clone(), write(&passkey)?))),
            Err(error) => Ok(Err(refusal(&error))),
        }
    }

    /// What has a device show that its user is there, with one of these or, of none, whichever it has; and what is to be
    /// kept until it does.
    pub(crate) fn ask(&self, known: &[String]) -> Result<(Value, String), Error> {
        let (options, state) = self.0.start_discoverable_authentication().map_err(http::Error::internal)?;
        let mut options = public_key(&options)?;
        if !known.is_empty() {
            let one =
                |passkey: &Credential| json!({ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(passkey.cred_id()) });
            options["allowCredentials"] = read_all(known)?.iter().map(one).collect();
        }
        Ok((options, write(&state)?))
    }

    /// Whose passkey it says it is: the user, and its id there.
    pub(crate) fn whose<'a>(&self, shown: &'a PublicKeyCredential) -> Option<(uuid::Uuid, &'a [u8])> {
        self.0.identify_discoverable_authentication(shown).ok()
    }

    /// Whether it was shown by this passkey; the passkey as it is to be kept from now on.
    pub(crate) fn shown(
        &self,
        state: &str,
        shown: &PublicKeyCredential,
        credential: &str,
    ) -> Result<Result<String, Refusal>, Error> {
        let (state, mut passkey): (DiscoverableAuthentication, Credential) = (read(state)?, read(credential)?);
        match self.0.finish_discoverable_authentication_v2(shown, state, &passkey) {
            // It is asked for, so this never is: but nothing else says so here.
            Ok(result) if !result.user_verified() => Ok(Err(Refusal::Invalid)),
            Ok(result) => {
                _ = passkey.update_credential(&result);
                Ok(Ok(write(&passkey)?))
            }
            Err(error) => Ok(Err(refusal(&error))),
        }
    }
}

/// Its longest id (section 5.8.3 of the specification: at most 1023 bytes).
pub(crate) const LONGEST_ID: usize = 1023;

fn refusal(error: &WebauthnError) -> Refusal {
    tracing::debug!(target: "omnistack::auth", ?error, "a passkey is refused");
    if matches!(error, WebauthnError::CredentialPossibleCompromise) { Refusal::Counter } else { Refusal::Invalid }
}

/// What browsers take, without what is around it.
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
