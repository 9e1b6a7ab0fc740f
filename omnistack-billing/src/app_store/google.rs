//! Purchases in Google Play, as the Google Play Developer API states them.
//!
//! A purchase has a token. Notifications and devices name it, and the API has its state:
//! <https://developers.google.com/android-publisher/api-ref/rest/v3/purchases.subscriptionsv2>.

mod access_token;
mod api;
mod purchase;
mod service_account;

use omnistack_core::{ExposeSecret as _, SecretString, http::client, module::Registry, settings};

pub(super) use api::{GooglePlay, GooglePlayError};
pub(super) use purchase::{GooglePurchase, is_purchase_token};

use service_account::ServiceAccount;

settings! {
    /// Subscriptions that are bought in Google Play.
    pub(super) struct GooglePlaySettings {
        /// Package name of the app, such as `com.example.app`. Turns purchases in Google Play on.
        pub(super) package: Option<String> = "GOOGLE_PLAY_PACKAGE";
        /// The key of the service account that may manage orders and subscriptions: the content of its JSON file.
        /// Required if GOOGLE_PLAY_PACKAGE is set.
        pub(super) service_account: Option<SecretString> = "GOOGLE_PLAY_SERVICE_ACCOUNT";
        /// URL of the Google Play Developer API.
        pub(super) api_url: String = "GOOGLE_PLAY_API_URL", default "https://androidpublisher.googleapis.com";
    }
}

/// Returns the API of Google Play if a package is set. Reports the problems of its settings.
pub(super) fn from_settings(registry: &mut Registry) -> Option<GooglePlay> {
    let settings = registry.config::<GooglePlaySettings>()?;
    let package = settings.package?;
    if !purchase::is_plain(&package) {
        let what = format!("`GOOGLE_PLAY_PACKAGE` is `{}`, not the name of a package", package.escape_debug());
        registry.report_problem(what, "set it to the package name of the app, such as `com.example.app`");
        return None;
    }
    let Some(key) = settings.service_account else {
        let what = "`GOOGLE_PLAY_PACKAGE` is set without `GOOGLE_PLAY_SERVICE_ACCOUNT`, so Google can't be asked for \
                    purchases";
        let fix = "set GOOGLE_PLAY_SERVICE_ACCOUNT to the content of the JSON key of a service account";
        registry.report_problem(what, fix);
        return None;
    };
    let account = match ServiceAccount::parse(key.expose_secret()) {
        Ok(account) => account,
        Err(problem) => {
            let fix = "create a key of the service account in the Google Cloud console, and set it to its JSON";
            registry.report_problem(format!("`GOOGLE_PLAY_SERVICE_ACCOUNT`: {problem}"), fix);
            return None;
        }
    };
    let base = match client::base_url(&settings.api_url) {
        Ok(url) => url.as_str().trim_end_matches('/').to_owned(),
        Err(error) => {
            let fix = "remove it: the default is Google's own address";
            registry.report_problem(format!("`GOOGLE_PLAY_API_URL` is invalid: {error}"), fix);
            return None;
        }
    };
    let (client, clock) = (registry.settings_client()?, registry.clock());
    Some(GooglePlay::new(client, clock, base, package, account))
}
