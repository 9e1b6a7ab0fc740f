//! GitHub, which has no ID tokens: who has signed in is asked with the access token, over the connection to GitHub itself.

use omnistack_core::{ExposeSecret as _, http::client::Client};
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Party,
    flow::Flow,
    oidc::refusal,
    service::{away, garbled},
};
use crate::{
    Error,
    account::elsewhere::Person,
    issuer::{
        fetch,
        profile::{self, Profile},
    },
    users::normal_email,
};

pub(super) struct GitHub {
    pub(super) party: Party,
    /// Without a slash at its end; the issuer of its users.
    pub(super) site: String,
    pub(super) api: String,
    pub(super) client: Client,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    name: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Deserialize)]
struct Address {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHub {
    /// Where the browser goes.
    pub(super) fn authorization(&self, flow: &Flow, callback: &str) -> Result<Url, Error> {
        let mut url = self.url("/login/oauth/authorize")?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.party.client_id)
            .append_pair("redirect_uri", callback)
            .append_pair("scope", &self.party.scopes)
            .append_pair("state", &flow.state)
            .append_pair("code_challenge", &flow.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Who has signed in, for a code.
    pub(super) async fn person(&self, flow: &Flow, code: &str, callback: &str) -> Result<Person, Error> {
        let at = self.url("/login/oauth/access_token")?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &self.party.client_id)
            .append_pair("client_secret", self.party.client_secret.expose_secret())
            .append_pair("code", code)
            .append_pair("redirect_uri", callback)
            .append_pair("code_verifier", &flow.verifier)
            .finish();
        let request = self.client.post(at.clone()).header("accept", "application/json");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let (status, body) = fetch::send(request).await.map_err(|error| away(&at, error))?;
        // What it refuses, it answers with 200 as well.
        let answer = Some(status).filter(|status| *status == 200).and_then(|_| serde_json::from_slice(&body).ok());
        let Answer { access_token: token } = answer.ok_or_else(|| refusal(&at, status, &body))?;
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(garbled("an access token that is none"));
        }
        let user: User = self.ask("/user", &token).await?;
        let addresses: Vec<Address> = self.ask("/user/emails", &token).await?;
        let primary = addresses.into_iter().find(|address| address.primary && address.verified);
        let profile = Profile {
            email: primary.and_then(|address| normal_email(&address.email)),
            name: user
                .name
                .as_deref()
                .and_then(|name| profile::shown(name, 100))
                .or_else(|| profile::shown(&user.login, 100)),
            picture: user.avatar_url.as_deref().and_then(profile::address),
            locale: None,
        };
        Ok(Person { issuer: self.site.clone(), subject: user.id.to_string(), profile })
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, Error> {
        let url = format!("{}{path}", self.api);
        let at: Url = url.parse().map_err(omnistack_core::http::Error::internal)?;
        let request = self.client.get(at.clone()).header("accept", "application/vnd.github+json");
        let request = request.header("x-github-api-version", "2022-11-28").bearer_auth(token);
        match fetch::send(request).await {
            Ok((200, body)) => serde_json::from_slice(&body).map_err(|_| garbled("a user nobody can read")),
            Ok((status, _)) if status >= 500 || status == 429 => Err(away(&at, format!("answered {status}"))),
            Ok(_) => Err(garbled("no user")),
            Err(error) => Err(away(&at, error)),
        }
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        let url = format!("{}{path}", self.site);
        Ok(url.parse().map_err(omnistack_core::http::Error::internal)?)
    }
}
