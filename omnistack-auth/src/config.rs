//! Settings.

use std::time::Duration;

use omnistack_core::http::RateSetting;

omnistack_core::section! {
    /// Accounts.
    pub struct AuthSettings {
        /// Where users reach the app: what links in mails begin with, and the issuer of access tokens.
        pub public_url: String = "PUBLIC_URL", default "http://127.0.0.1:8080";
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

impl AuthSettings {
    /// The issuer of the app's own tokens: the public address without a slash at its end.
    pub fn issuer(&self) -> &str {
        self.public_url.trim_end_matches('/')
    }
}
