//! Sign-in with GitHub, which has no ID tokens: the app requests the user's profile with the access token.

use omnistack_core::{ExposeSecret as _, http::client::Client};
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    OAuthClient,
    authorization_state::AuthorizationState,
    callback::{invalid_response, provider_unreachable},
    oidc::token_error,
};
use crate::{
    Error,
    federation::{
        external_identity::ExternalIdentity,
        external_identity::{self, ExternalProfile},
        issuer::fetch,
    },
    users::normalize_email,
};

pub(crate) struct GitHub {
    pub(crate) oauth_client: OAuthClient,
    /// The URL without a trailing slash. It is also the issuer of the users' identities.
    pub(crate) site: String,
    pub(crate) api: String,
    pub(crate) client: Client,
}

#[derive(Deserialize)]
struct GitHubTokenResponse {
    access_token: String,
}

#[derive(Deserialize)]
struct GitHubUser {
    id: u64,
    login: String,
    name: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Deserialize)]
struct GitHubEmail {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHub {
    /// Returns the URL to redirect the browser to.
    pub(crate) fn authorization_url(&self, flow: &AuthorizationState, callback: &str) -> Result<Url, Error> {
        let mut url = self.url("/login/oauth/authorize")?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.oauth_client.client_id)
            .append_pair("redirect_uri", callback)
            .append_pair("scope", &self.oauth_client.scopes)
            .append_pair("state", &flow.state)
            .append_pair("code_challenge", &flow.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Exchanges a code and returns the external identity of the user.
    pub(crate) async fn exchange_code(
        &self,
        flow: &AuthorizationState,
        code: &str,
        callback: &str,
    ) -> Result<ExternalIdentity, Error> {
        let at = self.url("/login/oauth/access_token")?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &self.oauth_client.client_id)
            .append_pair("client_secret", self.oauth_client.client_secret.expose_secret())
            .append_pair("code", code)
            .append_pair("redirect_uri", callback)
            .append_pair("code_verifier", &flow.verifier)
            .finish();
        let request = self.client.post(at.clone()).header("accept", "application/json");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let (status, body) = fetch::send(request).await.map_err(|error| provider_unreachable(&at, error))?;
        // GitHub sends refusals with status 200 too.
        let answer = Some(status).filter(|status| *status == 200).and_then(|_| serde_json::from_slice(&body).ok());
        let GitHubTokenResponse { access_token: token } = answer.ok_or_else(|| token_error(&at, status, &body))?;
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid_response("an invalid access token"));
        }
        let user: GitHubUser = self.get_json("/user", &token).await?;
        let addresses: Vec<GitHubEmail> = self.get_json("/user/emails", &token).await?;
        let primary = addresses.into_iter().find(|address| address.primary && address.verified);
        let profile = ExternalProfile {
            email: primary.and_then(|address| normalize_email(&address.email)),
            name: user
                .name
                .as_deref()
                .and_then(|name| external_identity::display_text(name, 100))
                .or_else(|| external_identity::display_text(&user.login, 100)),
            picture: user.avatar_url.as_deref().and_then(external_identity::picture_url),
            locale: None,
        };
        Ok(ExternalIdentity { issuer: self.site.clone(), subject: user.id.to_string(), profile })
    }

    /// Sends a request to the API. Fails if GitHub can't be reached or the response is invalid.
    async fn get_json<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, Error> {
        let url = format!("{}{path}", self.api);
        let at: Url = url.parse().map_err(omnistack_core::http::Error::internal)?;
        let request = self.client.get(at.clone()).header("accept", "application/vnd.github+json");
        let request = request.header("x-github-api-version", "2022-11-28").bearer_auth(token);
        match fetch::send(request).await {
            Ok((200, body)) => {
                serde_json::from_slice(&body).map_err(|_| invalid_response("a response that can't be parsed"))
            }
            Ok((status, _)) if status >= 500 || status == 429 => {
                Err(provider_unreachable(&at, format!("responded with status {status}")))
            }
            Ok(_) => Err(invalid_response("a response without the user")),
            Err(error) => Err(provider_unreachable(&at, error)),
        }
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        let url = format!("{}{path}", self.site);
        Ok(url.parse().map_err(omnistack_core::http::Error::internal)?)
    }
}
