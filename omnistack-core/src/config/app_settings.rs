//! The settings of the app itself.

use super::{Environment, PublicUrl};

crate::settings! {
    /// The app.
    pub(crate) struct AppSettings {
        /// Environment in which the app runs. In production, development secrets are rejected, migrations do not run
        /// at startup, and logs are JSON.
        pub(crate) environment: Environment = "APP_ENV", default "development";
        /// Address at which users reach the app. Links in emails and to files begin with it, and it is the issuer of
        /// access tokens. It has no path. Without it, the address is made of `HOST` and `PORT`: `http://127.0.0.1:8080`.
        /// In production, features that send links require an address that begins with `https://`.
        pub(crate) public_url: Option<PublicUrl> = "PUBLIC_URL";
    }
}
