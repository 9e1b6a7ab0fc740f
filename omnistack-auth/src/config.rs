//! Settings.

use std::time::Duration;

use omnistack_core::http::RateSetting;
use secrecy::SecretString;

use crate::{issuer::Issuer, social::Provider};

omnistack_core::section! {
    /// Accounts.
    pub struct AuthSettings {
        /// How long an access token is good.
        pub access_token: Duration = "AUTH_ACCESS_TOKEN", default "10m";
        /// How long a session lasts that is not used.
        pub session_idle: Duration = "AUTH_SESSION_IDLE", default "30d";
        /// How long a session lasts however much it is used.
        pub session_lifetime: Duration = "AUTH_SESSION_LIFETIME", default "90d";
        /// How long the refresh token before the last is answered with the last one: a browser's tabs refresh at once.
        pub refresh_grace: Duration = "AUTH_REFRESH_GRACE", default "20s";
        /// How long a key signs access tokens before the next one does.
        pub signing_key: Duration = "AUTH_SIGNING_KEY", default "90d";
        /// How often programs may come with one key.
        pub api_key_rate_limit: RateSetting = "API_KEY_RATE_LIMIT", default "600/minute";
        /// How long a deleted team can be restored.
        pub tenant_delete_grace: Duration = "TENANT_DELETE_GRACE", default "30d";
        /// The domain whose subdomains choose a tenant: with `example.com`, `acme.example.com` is for the one called `acme`.
        pub tenant_domain: Option<String> = "TENANT_DOMAIN";
    }
}

omnistack_core::section! {
    /// Identity providers.
    pub struct IssuerSettings {
        /// Whose tokens are good beside the app's own, e.g. `clerk=https://clerk.example.com`: `jwks`, `hs256`, `clerk`, `supabase`, `auth0` or `keycloak`, and its address.
        pub issuers: Vec<String> = "AUTH_ISSUERS";
        /// For whom their tokens have to be (`aud`).
        pub audiences: Vec<String> = "AUTH_AUDIENCES";
        /// To whom they have to be given (`azp`): origins for Clerk, clients for Keycloak.
        pub authorized_parties: Vec<String> = "AUTH_AUTHORIZED_PARTIES";
        /// What `hs256`, and `supabase` where it is set, sign with.
        pub secret: Option<SecretString> = "AUTH_ISSUER_SECRET";
        /// What webhooks of Clerk and Supabase are signed with: `whsec_…`.
        pub webhook_secret: Option<SecretString> = "AUTH_WEBHOOK_SECRET";
    }
}

impl IssuerSettings {
    /// The issuers these say.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn read(&self) -> Result<Vec<Issuer>, String> {
        self.issuers.iter().map(|text| self.issuer(text)).collect()
    }

    fn issuer(&self, text: &str) -> Result<Issuer, String> {
        let (kind, address) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`"))?;
        let mut audiences = self.audiences.iter();
        let mut parties = self.authorized_parties.as_slice();
        let mut issuer = match kind {
            "jwks" => Issuer::jwks(address),
            "hs256" => {
                let secret = self.secret.clone().ok_or("`hs256` needs `AUTH_ISSUER_SECRET`")?;
                Issuer::hs256(address, secret)
            }
            "clerk" => Issuer::clerk(address, std::iter::empty::<String>()),
            "supabase" => match &self.secret {
                Some(secret) => Issuer::supabase(address).secret(secret.clone()),
                None => Issuer::supabase(address),
            },
            "auth0" => Issuer::auth0(address, audiences.next().ok_or("`auth0` needs `AUTH_AUDIENCES`")?),
            "keycloak" => {
                let (client, others) = parties.split_first().ok_or("`keycloak` needs `AUTH_AUTHORIZED_PARTIES`")?;
                parties = others;
                Issuer::keycloak(address, client)
            }
            _ => return Err(format!("`{kind}` is none of `jwks`, `hs256`, `clerk`, `supabase`, `auth0`, `keycloak`")),
        };
        if !matches!(kind, "clerk" | "supabase") {
            issuer = audiences.fold(issuer, Issuer::audience);
        }
        if matches!(kind, "clerk" | "keycloak") {
            issuer = issuer.authorized_parties(parties);
        }
        match &self.webhook_secret {
            Some(secret) if matches!(kind, "clerk" | "supabase") => Ok(issuer.webhook_secret(secret.clone())),
            _ => Ok(issuer),
        }
    }
}

omnistack_core::section! {
    /// Built-in accounts.
    pub struct AccountSettings {
        /// Who operates the app as long as nobody else does: made at start, with this address; a new password is asked for by mail.
        pub owner: Option<String> = "AUTH_OWNER_EMAIL";
        /// Whether anybody may register.
        pub registration: bool = "AUTH_REGISTRATION", default "true";
        /// Whether an address must be confirmed before its user may sign in.
        pub verified_email: bool = "AUTH_VERIFIED_EMAIL", default "true";
        /// Fewest characters of a password.
        pub password_length: usize = "AUTH_PASSWORD_LENGTH", default "15";
        /// Fewest characters of the password of a user with a second factor.
        pub password_length_second_factor: usize = "AUTH_PASSWORD_LENGTH_SECOND_FACTOR", default "8";
        /// Memory one password hash takes, in KiB.
        pub argon2_memory: u32 = "AUTH_ARGON2_MEMORY", default "19456";
        /// Passes over that memory.
        pub argon2_passes: u32 = "AUTH_ARGON2_PASSES", default "2";
        /// Lanes of that memory.
        pub argon2_lanes: u32 = "AUTH_ARGON2_LANES", default "1";
        /// Passwords hashed at once; as many as there are cores when absent.
        pub hashing: Option<usize> = "AUTH_HASHING";
        /// Passwords that wait for that; who comes beyond it is answered 503.
        pub hashing_queue: usize = "AUTH_HASHING_QUEUE", default "64";
        /// How long an account that is to be deleted can be kept by signing in.
        pub deletion_grace: Duration = "AUTH_DELETION_GRACE", default "30d";
    }
}

#[cfg(feature = "passkeys")]
omnistack_core::section! {
    /// Passkeys.
    pub struct PasskeySettings {
        /// The domain they are for; the host of `PUBLIC_URL` when absent. Who changes it leaves every passkey behind.
        pub domain: Option<String> = "AUTH_PASSKEY_DOMAIN";
        /// Other addresses whose pages may ask for them, beside `PUBLIC_URL`.
        pub origins: Vec<String> = "AUTH_PASSKEY_ORIGINS";
    }
}

#[cfg(feature = "sms")]
omnistack_core::section! {
    /// Codes by text message.
    pub struct SmsCodeSettings {
        /// Whether users may have codes sent to their phone, as a second factor. It needs the module `Sms`.
        pub codes: bool = "AUTH_SMS_CODES", default "false";
    }
}

omnistack_core::section! {
    /// Signing in with providers, for `Auth::from_env`.
    pub struct SocialSettings {
        /// The app's client id at Google; with its secret, users can sign in with Google.
        pub google_client_id: Option<String> = "AUTH_GOOGLE_CLIENT_ID";
        /// Its secret.
        pub google_client_secret: Option<SecretString> = "AUTH_GOOGLE_CLIENT_SECRET";
        /// The app's client id at GitHub; with its secret, users can sign in with GitHub.
        pub github_client_id: Option<String> = "AUTH_GITHUB_CLIENT_ID";
        /// Its secret.
        pub github_client_secret: Option<SecretString> = "AUTH_GITHUB_CLIENT_SECRET";
    }
}

impl SocialSettings {
    /// The providers these say.
    ///
    /// # Errors
    /// One is there by half.
    pub(crate) fn read(&self) -> Result<Vec<Provider>, &'static str> {
        let mut providers = Vec::new();
        match (&self.google_client_id, &self.google_client_secret) {
            (Some(id), Some(secret)) => providers.push(Provider::google(id, secret.clone())),
            (None, None) => {}
            _ => return Err("of `AUTH_GOOGLE_CLIENT_ID` and `AUTH_GOOGLE_CLIENT_SECRET`, one is absent"),
        }
        match (&self.github_client_id, &self.github_client_secret) {
            (Some(id), Some(secret)) => providers.push(Provider::github(id, secret.clone())),
            (None, None) => {}
            _ => return Err("of `AUTH_GITHUB_CLIENT_ID` and `AUTH_GITHUB_CLIENT_SECRET`, one is absent"),
        }
        Ok(providers)
    }
}

/// What OWASP asks of Argon2id at least, as memory in KiB by passes: less memory takes more passes.
const LEAST: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

impl AccountSettings {
    /// Whether hashes cost as much as OWASP asks.
    pub(crate) fn is_costly(&self) -> bool {
        LEAST.iter().any(|(memory, passes)| self.argon2_memory >= *memory && self.argon2_passes >= *passes)
    }
}
