//! The providers of the settings `AUTH_GOOGLE_…` and `AUTH_GITHUB_…`.

use super::Provider;
use crate::settings::SocialSettings;

impl SocialSettings {
    /// Returns the providers that are configured.
    ///
    /// # Errors
    /// Returns a message if only one of a provider's client ID and secret is set.
    pub(crate) fn read(&self) -> Result<Vec<Provider>, &'static str> {
        let mut providers = Vec::new();
        match (&self.google_client_id, &self.google_client_secret) {
            (Some(id), Some(secret)) => providers.push(Provider::google(id, secret.clone())),
            (None, None) => {}
            _ => {
                return Err(
                    "only one of `AUTH_GOOGLE_CLIENT_ID` and `AUTH_GOOGLE_CLIENT_SECRET` is set; set both or none",
                );
            }
        }
        match (&self.github_client_id, &self.github_client_secret) {
            (Some(id), Some(secret)) => providers.push(Provider::github(id, secret.clone())),
            (None, None) => {}
            _ => {
                return Err(
                    "only one of `AUTH_GITHUB_CLIENT_ID` and `AUTH_GITHUB_CLIENT_SECRET` is set; set both or none",
                );
            }
        }
        Ok(providers)
    }
}
