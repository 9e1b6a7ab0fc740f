//! The deliveries that failed. GitHub does not repeat them by itself.

use std::{collections::HashMap, time::Duration};

use http::{StatusCode, header::LINK};
use omnistack_core::{
    BoxError,
    clock::{Clock, Timestamp},
    http::client::RequestBuilder,
    module::Registry,
    webhook::MissedWebhooks,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::app_token::AppKey;
use crate::sources::{
    provider_api::{ProviderApi, ProviderResponse, send},
    settings::GitHubWebhookSettings,
};

/// Number of deliveries on a page, the largest that GitHub allows.
const PAGE_SIZE: &str = "100";
/// Largest number of pages that are read at once.
const MAX_PAGES: usize = 20;
/// Largest number of deliveries that are redelivered at once.
const MAX_REDELIVERIES: usize = 200;
/// Number of deliveries of one event after which it is given up.
const MAX_ATTEMPTS: usize = 5;
/// Age until which GitHub redelivers.
const REDELIVERABLE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The deliveries of a webhook in GitHub's API.
pub(super) struct GitHubDeliveries {
    api: ProviderApi,
    /// The path of the webhook, such as `/orgs/acme/hooks/1`.
    hook: String,
    credentials: GitHubCredentials,
    clock: Clock,
}

enum GitHubCredentials {
    Token(SecretString),
    App(AppKey),
}

/// A delivery in GitHub's list.
#[derive(Deserialize)]
struct GitHubDelivery {
    id: u64,
    /// The id of the event, which all of its deliveries have.
    guid: String,
    delivered_at: Timestamp,
    #[serde(default)]
    status: String,
    #[serde(default)]
    status_code: i64,
}

impl GitHubDelivery {
    fn has_succeeded(&self) -> bool {
        self.status == "OK" || (200..300).contains(&self.status_code)
    }
}

/// The deliveries of one event.
struct DeliveredEvent {
    /// The id of the newest delivery.
    newest: u64,
    attempts: usize,
    has_succeeded: bool,
}

impl GitHubDeliveries {
    pub(super) fn from_settings(registry: &mut Registry, settings: &GitHubWebhookSettings) -> Option<Self> {
        let hook = settings.hook.clone()?;
        if !is_hook_path(&hook) {
            let fix = "set it to /repos/OWNER/REPOSITORY/hooks/ID, /orgs/NAME/hooks/ID, or /app/hook";
            registry.report_problem(format!("`WEBHOOKS_GITHUB_HOOK` is `{hook}`, not the path of a webhook"), fix);
            return None;
        }
        let credentials = credentials(registry, settings, hook == "/app/hook")?;
        let api = ProviderApi::from_setting(registry, "WEBHOOKS_GITHUB_API_URL", &settings.api_url)?;
        Some(Self { api, hook, credentials, clock: registry.clock() })
    }

    /// Asks GitHub to send each event since a time again of which no delivery has succeeded, the oldest first: at most
    /// 200 at once, of the newest 2,000 deliveries, and at most four times each.
    pub(super) async fn redeliver(&self, since: Timestamp) -> Result<MissedWebhooks, BoxError> {
        let since = since.max(self.clock.now() - REDELIVERABLE);
        let failed = self.failed(since).await?;
        let has_more = failed.len() > MAX_REDELIVERIES;
        let mut missed = MissedWebhooks { has_more, ..MissedWebhooks::default() };
        for delivery in failed.into_iter().rev().take(MAX_REDELIVERIES) {
            let path = format!("{}/deliveries/{delivery}/attempts", self.hook);
            let response = self.send(self.api.post(&path)).await?;
            match response.status {
                status if status.is_success() => missed.redelivered += 1,
                // It is too old, or belongs to a webhook that was deleted. The others may still be possible.
                StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => {}
                status => return Err(format!("GitHub responded to a redelivery with {status}").into()),
            }
        }
        Ok(missed)
    }

    /// Returns the newest delivery of each event that has none that succeeded. The newest event comes first.
    async fn failed(&self, since: Timestamp) -> Result<Vec<u64>, BoxError> {
        let mut events: Vec<DeliveredEvent> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut cursor: Option<String> = None;
        let mut is_complete = false;
        for _ in 0..MAX_PAGES {
            let (page, next) = self.page(cursor.as_deref()).await?;
            let is_last = page.last().is_none_or(|oldest| oldest.delivered_at < since);
            for delivery in page.into_iter().filter(|delivery| delivery.delivered_at >= since) {
                let has_succeeded = delivery.has_succeeded();
                let place = *places.entry(delivery.guid).or_insert(events.len());
                match events.get_mut(place) {
                    Some(event) => {
                        event.attempts += 1;
                        event.has_succeeded |= has_succeeded;
                    }
                    None => events.push(DeliveredEvent { newest: delivery.id, attempts: 1, has_succeeded }),
                }
            }
            cursor = next;
            is_complete = is_last || cursor.is_none();
            if is_complete {
                break;
            }
        }
        if !is_complete {
            tracing::warn!(target: "omnistack::webhooks", "GitHub has more deliveries than are read at once");
        }
        let failed = events.into_iter().filter(|event| !event.has_succeeded && event.attempts < MAX_ATTEMPTS);
        Ok(failed.map(|event| event.newest).collect())
    }

    /// Returns a page of deliveries, the newest first, and the cursor of the next page.
    async fn page(&self, cursor: Option<&str>) -> Result<(Vec<GitHubDelivery>, Option<String>), BoxError> {
        let mut query = vec![("per_page", PAGE_SIZE)];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let response = self.send(self.api.get(&format!("{}/deliveries", self.hook), &query)).await?;
        if !response.status.is_success() {
            return Err(format!("GitHub responded to the list of deliveries with {}", response.status).into());
        }
        let link = response.headers.get(LINK).and_then(|link| link.to_str().ok());
        Ok((serde_json::from_slice(&response.body)?, link.and_then(next_cursor)))
    }

    async fn send(&self, request: RequestBuilder) -> Result<ProviderResponse, BoxError> {
        let request =
            request.header("accept", "application/vnd.github+json").header("x-github-api-version", "2022-11-28");
        send(match &self.credentials {
            GitHubCredentials::Token(token) => request.bearer_auth(token.expose_secret()),
            GitHubCredentials::App(key) => request.bearer_auth(&key.token(self.clock.now())?),
        })
        .await
    }
}

/// Returns the credentials that the webhook needs: those of a GitHub App for `/app/hook`, and a token for any other.
fn credentials(registry: &mut Registry, settings: &GitHubWebhookSettings, is_app: bool) -> Option<GitHubCredentials> {
    if !is_app {
        let token = settings.token.clone().map(GitHubCredentials::Token);
        if token.is_none() {
            let what = "`WEBHOOKS_GITHUB_HOOK` is set, and `WEBHOOKS_GITHUB_TOKEN` is not";
            registry.report_problem(what, "set WEBHOOKS_GITHUB_TOKEN to a token that may read and write webhooks");
        }
        return token;
    }
    let app = settings.app_id.as_deref().zip(settings.app_key.as_ref());
    let key = app.and_then(|(id, key)| AppKey::parse(id, key.expose_secret()));
    if key.is_none() {
        let what = "`WEBHOOKS_GITHUB_HOOK` is `/app/hook`, which needs the id and the private key of the GitHub App";
        let fix = "set WEBHOOKS_GITHUB_APP_ID to its number and WEBHOOKS_GITHUB_APP_KEY to its private key in PEM";
        registry.report_problem(what, fix);
    }
    key.map(GitHubCredentials::App)
}

/// Returns whether a text is the path of a webhook in GitHub's API.
fn is_hook_path(path: &str) -> bool {
    let plain = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(known)
    };
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "app", "hook"] => true,
        ["", "orgs", name, "hooks", id] => plain(name) && number(id),
        ["", "repos", owner, name, "hooks", id] => plain(owner) && plain(name) && number(id),
        _ => false,
    }
}

/// Returns the cursor in the link to the next page: `<https://…?cursor=…>; rel="next"`. The link itself is not
/// followed, since it could lead to another host.
pub(in crate::sources) fn next_cursor(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let (url, _) = next.split_once('<')?.1.split_once('>')?;
    let (_, query) = url.split_once('?')?;
    let cursor = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "cursor");
    cursor.map(|(_, cursor)| cursor.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_webhooks() {
        for (path, expected) in [
            ("/app/hook", true),
            ("/orgs/acme/hooks/1", true),
            ("/repos/acme/shop.js/hooks/12", true),
            ("/repos/acme/../hooks/12", false),
            ("/orgs/acme/hooks/", false),
            ("/orgs/acme/hooks/1/", false),
            ("/orgs/a?b/hooks/1", false),
            ("orgs/acme/hooks/1", false),
            ("/users/acme", false),
        ] {
            assert_eq!(is_hook_path(path), expected, "{path}");
        }
    }

    #[test]
    fn cursors_of_links() {
        let next = "<https://api.github.com/app/hook/deliveries?per_page=100&cursor=v1_7%2B8>; rel=\"next\"";
        let first = "<https://api.github.com/app/hook/deliveries?per_page=100>; rel=\"first\"";
        for (link, expected) in [
            (next.to_owned(), Some("v1_7+8")),
            (format!("{first}, {next}"), Some("v1_7+8")),
            (first.to_owned(), None),
            ("rel=\"next\"".to_owned(), None),
            ("<rel=\"next\"".to_owned(), None),
            (">?<; rel=\"next\"".to_owned(), None),
        ] {
            assert_eq!(next_cursor(&link).as_deref(), expected, "{link}");
        }
    }
}
