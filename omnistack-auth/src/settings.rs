//! The settings of accounts.

use std::time::Duration;

use omnistack_core::http::RateSetting;
use secrecy::SecretString;

omnistack_core::settings! {
    /// Accounts.
    ///
    /// ```
    /// use omnistack_auth::AuthSettings;
    /// use omnistack_core::config::Config;
    /// use std::time::Duration;
    ///
    /// let config = Config::from_pairs([("AUTH_SESSION_IDLE", "7d")]);
    /// let settings: AuthSettings = config.read_settings()?;
    /// assert_eq!(settings.session_idle, Duration::from_secs(7 * 24 * 60 * 60));
    /// assert_eq!(settings.access_token, Duration::from_secs(10 * 60));
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct AuthSettings {
        /// Lifetime of an access token.
        pub access_token: Duration = "AUTH_ACCESS_TOKEN", default "10m", range "10s"..="1d";
        /// Lifetime of a session that is not refreshed.
        pub session_idle: Duration = "AUTH_SESSION_IDLE", default "30d", range "1m"..="3650d";
        /// Maximum lifetime of a session, however often it is refreshed.
        pub session_lifetime: Duration = "AUTH_SESSION_LIFETIME", default "90d", range "1m"..="3650d";
        /// Time for which the previous refresh token still returns the current one, so that several tabs of a browser
        /// can refresh at once.
        pub refresh_grace: Duration = "AUTH_REFRESH_GRACE", default "20s", range "0s"..="10m";
        /// Time for which a key signs access tokens before the next key replaces it.
        pub signing_key: Duration = "AUTH_SIGNING_KEY", default "90d", range "1h"..="3650d";
        /// Rate limit of requests with one API key.
        pub api_key_rate_limit: RateSetting = "API_KEY_RATE_LIMIT", default "600/minute";
        /// Time within which a deleted team can be restored.
        pub tenant_delete_grace: Duration = "TENANT_DELETE_GRACE", default "30d", range "0s"..="365d";
        /// The domain whose subdomains select a tenant: with `example.com`, requests to `acme.example.com` are for the tenant with the slug `acme`.
        pub tenant_domain: Option<String> = "TENANT_DOMAIN";
    }
}

omnistack_core::settings! {
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
    /// let settings: IssuerSettings = config.read_settings()?;
    /// assert_eq!(settings.authorized_parties, ["https://app.example.com", "https://admin.example.com"]);
    /// assert!(!format!("{settings:?}").contains("c2VjcmV0"), "secrets are not shown");
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct IssuerSettings {
        /// The issuers whose tokens are accepted besides the app's own, each as kind and URL, e.g. `clerk=https://clerk.example.com`. Kinds: `jwks`, `hs256`, `clerk`, `supabase`, `auth0`, `keycloak`.
        pub issuers: Vec<String> = "AUTH_ISSUERS";
        /// The audiences (`aud`) of which a token must name at least one.
        pub audiences: Vec<String> = "AUTH_AUDIENCES";
        /// The authorized parties (`azp`) that tokens may be issued to: origins for Clerk, client IDs for Keycloak.
        pub authorized_parties: Vec<String> = "AUTH_AUTHORIZED_PARTIES";
        /// The secret that signs the tokens of `hs256`, and of `supabase` if it is set.
        pub secret: Option<SecretString> = "AUTH_ISSUER_SECRET";
        /// The secret that signs the webhooks of Clerk and Supabase: `whsec_…`.
        pub webhook_secret: Option<SecretString> = "AUTH_WEBHOOK_SECRET";
    }
}

omnistack_core::settings! {
    /// Built-in accounts.
    ///
    /// ```
    /// use omnistack_auth::AccountSettings;
    /// use omnistack_core::config::Config;
    ///
    /// let by_invitation = Config::from_pairs([
    ///     ("AUTH_OPERATOR_EMAIL", "ada@example.com"),
    ///     ("AUTH_REGISTRATION", "false"),
    ///     ("AUTH_PASSWORD_LENGTH", "12"),
    /// ]);
    /// let settings: AccountSettings = by_invitation.read_settings()?;
    /// assert!(!settings.registration && settings.verified_email);
    /// assert_eq!(settings.password_length, 12);
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct AccountSettings {
        /// The email address of the first operator. The app creates the operator at start if it has none, and sends a new user a link to choose a password.
        pub operator_email: Option<String> = "AUTH_OPERATOR_EMAIL";
        /// Whether users may create accounts: by registration, or by the first sign-in with an identity provider or an issuer's token. If `false`, accounts are created by invitation only.
        pub registration: bool = "AUTH_REGISTRATION", default "true";
        /// Whether users must verify their email address before they can sign in.
        pub verified_email: bool = "AUTH_VERIFIED_EMAIL", default "true";
        /// The minimum length of a password, in characters.
        pub password_length: usize = "AUTH_PASSWORD_LENGTH", default "15", range "8"..="64";
        /// The minimum length of the password of a user with a second factor, in characters.
        pub password_length_second_factor: usize = "AUTH_PASSWORD_LENGTH_SECOND_FACTOR", default "8", range "8"..="64";
        /// The memory of one Argon2id password hash, in KiB.
        pub argon2_memory: u32 = "AUTH_ARGON2_MEMORY", default "19456", range "8"..="4194304";
        /// The number of Argon2id passes over that memory.
        pub argon2_passes: u32 = "AUTH_ARGON2_PASSES", default "2", range "1"..="1000";
        /// The number of Argon2id lanes of that memory.
        pub argon2_lanes: u32 = "AUTH_ARGON2_LANES", default "1", range "1"..="64";
        /// The number of passwords hashed at the same time. If absent, the number of CPU cores.
        pub password_hash_concurrency: Option<usize> = "AUTH_PASSWORD_HASH_CONCURRENCY", range "1"..="1024";
        /// The number of passwords that may wait to be hashed; further requests get the response 503.
        pub password_hash_queue: usize = "AUTH_PASSWORD_HASH_QUEUE", default "64", range "0"..="100000";
        /// Time for which an account is kept after its user requested deletion. Signing in during this time keeps the
        /// account.
        pub deletion_grace: Duration = "AUTH_DELETION_GRACE", default "30d", range "0s"..="365d";
    }
}

omnistack_core::settings! {
    feature "passkeys" of "omnistack";
    /// Passkeys.
    ///
    /// ```
    /// use omnistack_auth::PasskeySettings;
    /// use omnistack_core::config::Config;
    ///
    /// // The passkeys of `app.example.com`, which is `PUBLIC_URL`, are valid on the shop's subdomain too.
    /// let config = Config::from_pairs([
    ///     ("AUTH_PASSKEY_DOMAIN", "example.com"),
    ///     ("AUTH_PASSKEY_ORIGINS", "https://shop.example.com"),
    /// ]);
    /// let settings: PasskeySettings = config.read_settings()?;
    /// assert_eq!(settings.domain.as_deref(), Some("example.com"));
    /// assert_eq!(settings.origins, ["https://shop.example.com"]);
    /// # Ok::<_, Vec<omnistack_core::config::ConfigProblem>>(())
    /// ```
    pub struct PasskeySettings {
        /// The domain passkeys are bound to. If absent, the host of `PUBLIC_URL`. Changing it makes every existing passkey unusable.
        pub domain: Option<String> = "AUTH_PASSKEY_DOMAIN";
        /// Further origins, besides `PUBLIC_URL`, whose pages may use the passkeys.
        pub origins: Vec<String> = "AUTH_PASSKEY_ORIGINS";
    }
}

omnistack_core::settings! {
    feature "sms" of "omnistack";
    /// SMS codes.
    ///
    /// ```
    /// use omnistack_auth::{Auth, SmsCodeSettings};
    /// use omnistack_core::{app::App, config::Config};
    /// use omnistack_messaging::sms::Sms;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> omnistack_core::Result<()> {
    /// let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("AUTH_SMS_CODES", "true")]);
    /// assert!(config.read_settings::<SmsCodeSettings>().is_ok_and(|settings| settings.codes));
    ///
    /// // Without the module `Sms` the codes can't be sent, so the app doesn't start.
    /// assert!(App::builder(config.clone()).with(Auth::built_in()).build().is_err());
    /// App::builder(config).with(Auth::built_in()).with(Sms::default()).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub struct SmsCodeSettings {
        /// Whether users may receive codes by SMS as a second factor. It needs the module `Sms`.
        pub codes: bool = "AUTH_SMS_CODES", default "false";
    }
}

omnistack_core::settings! {
    /// Social sign-in, for `Auth::from_env`.
    ///
    /// ```
    /// use omnistack_auth::{Auth, SocialSettings};
    /// use omnistack_core::{app::App, config::Config};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> omnistack_core::Result<()> {
    /// let half = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("AUTH_GITHUB_CLIENT_ID", "Iv1.01234")]);
    /// assert!(half.read_settings::<SocialSettings>().is_ok_and(|settings| settings.github_client_secret.is_none()));
    ///
    /// // A client ID without its secret is reported at start, not at the first sign-in.
    /// let problems = App::builder(half.clone()).with(Auth::from_env()).build().unwrap_err();
    /// assert!(problems.to_string().contains("AUTH_GITHUB_CLIENT_SECRET"));
    /// App::builder(half).set("AUTH_GITHUB_CLIENT_SECRET", "secret").with(Auth::from_env()).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub struct SocialSettings {
        /// The app's client ID at Google. If it and the secret are set, users can sign in with Google.
        pub google_client_id: Option<String> = "AUTH_GOOGLE_CLIENT_ID";
        /// The app's client secret at Google.
        pub google_client_secret: Option<SecretString> = "AUTH_GOOGLE_CLIENT_SECRET";
        /// The app's client ID at GitHub. If it and the secret are set, users can sign in with GitHub.
        pub github_client_id: Option<String> = "AUTH_GITHUB_CLIENT_ID";
        /// The app's client secret at GitHub.
        pub github_client_secret: Option<SecretString> = "AUTH_GITHUB_CLIENT_SECRET";
    }
}

/// The minimum Argon2id parameters recommended by OWASP, as pairs of memory in KiB and passes: less memory needs more
/// passes.
const OWASP_MINIMUM: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

impl AccountSettings {
    /// Returns whether password hashes cost at least as much as OWASP recommends.
    pub(crate) fn meets_owasp_minimum(&self) -> bool {
        OWASP_MINIMUM.iter().any(|(memory, passes)| self.argon2_memory >= *memory && self.argon2_passes >= *passes)
    }
}
