//! Settings.

use std::time::Duration;

use omnistack_core::http::RateSetting;
use secrecy::SecretString;

use crate::{issuer::Issuer, social::Provider};

omnistack_core::section! {
    /// Accounts.
    ///
    /// ```
    /// use omnistack_auth::AuthSettings;
    /// use omnistack_core::config::Config;
    /// use std::time::Duration;
    ///
    /// let config = Config::from_pairs([("AUTH_SESSION_IDLE", "7d")]);
    /// let settings: AuthSettings = config.section()?;
    /// assert_eq!(settings.session_idle, Duration::from_secs(7 * 24 * 60 * 60));
    /// assert_eq!(settings.access_token, Duration::from_secs(10 * 60));
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
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
    ///
    /// ```
    /// use omnistack_auth::IssuerSettings;
    /// use omnistack_core::config::Config;
    ///
    /// let config = Config::from_pairs([
    ///     ("AUTH_ISSUERS", "clerk=https://clerk.example.com"),
    ///     ("AUTH_AUTHORIZED_PARTIES", "https://app.example.com,https://admin.example.com"),
    ///     ("AUTH_WEBHOOK_SECRET", "whsec_c2VjcmV0"),
    /// ]);
    /// let settings: IssuerSettings = config.section()?;
    /// assert_eq!(settings.authorized_parties, ["https://app.example.com", "https://admin.example.com"]);
    /// assert!(!format!("{settings:?}").contains("c2VjcmV0"), "secrets are not shown");
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
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
    ///
    /// ```
    /// use omnistack_auth::AccountSettings;
    /// use omnistack_core::config::Config;
    ///
    /// let by_invitation = Config::from_pairs([
    ///     ("AUTH_OWNER_EMAIL", "ada@example.com"),
    ///     ("AUTH_REGISTRATION", "false"),
    ///     ("AUTH_PASSWORD_LENGTH", "12"),
    /// ]);
    /// let settings: AccountSettings = by_invitation.section()?;
    /// assert!(!settings.registration && settings.verified_email);
    /// assert_eq!(settings.password_length, 12);
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct AccountSettings {
        /// The address of the first operator, made at start as long as the app has none; a new one is sent a link to choose a password.
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
    ///
    /// ```
    /// use omnistack_auth::PasskeySettings;
    /// use omnistack_core::config::Config;
    ///
    /// // One passkey for `app.example.com`, which is `PUBLIC_URL`, and for the shop beside it.
    /// let config = Config::from_pairs([
    ///     ("AUTH_PASSKEY_DOMAIN", "example.com"),
    ///     ("AUTH_PASSKEY_ORIGINS", "https://shop.example.com"),
    /// ]);
    /// let settings: PasskeySettings = config.section()?;
    /// assert_eq!(settings.domain.as_deref(), Some("example.com"));
    /// assert_eq!(settings.origins, ["https://shop.example.com"]);
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
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
    ///
    /// ```
    /// use omnistack_auth::{Auth, SmsCodeSettings};
    /// use omnistack_core::{app::App, config::Config, sms::Sms};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> omnistack_core::Result<()> {
    /// let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("AUTH_SMS_CODES", "true")]);
    /// assert!(config.section::<SmsCodeSettings>().is_ok_and(|settings| settings.codes));
    ///
    /// // Nothing would send them here, so the app doesn't start.
    /// assert!(App::builder(config.clone()).with(Auth::accounts()).build().is_err());
    /// App::builder(config).with(Auth::accounts()).with(Sms::default()).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub struct SmsCodeSettings {
        /// Whether users may have codes sent to their phone, as a second factor. It needs the module `Sms`.
        pub codes: bool = "AUTH_SMS_CODES", default "false";
    }
}

omnistack_core::section! {
    /// Signing in with providers, for `Auth::from_env`.
    ///
    /// ```
    /// use omnistack_auth::{Auth, SocialSettings};
    /// use omnistack_core::{app::App, config::Config};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> omnistack_core::Result<()> {
    /// let half = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("AUTH_GITHUB_CLIENT_ID", "Iv1.01234")]);
    /// assert!(half.section::<SocialSettings>().is_ok_and(|settings| settings.github_client_secret.is_none()));
    ///
    /// // An id without its secret is a problem at start, and not at the first sign-in.
    /// let problems = App::builder(half.clone()).with(Auth::from_env()).build().unwrap_err();
    /// assert!(problems.to_string().contains("AUTH_GITHUB_CLIENT_SECRET"));
    /// App::builder(half).set("AUTH_GITHUB_CLIENT_SECRET", "secret").with(Auth::from_env()).build()?;
    /// # Ok(())
    /// # }
    /// ```
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
