//! GitHub's REST API, version 2022-11-28.
//!
//! Documentation: <https://docs.github.com/en/rest/repos/contents>, `…/git/refs`, `…/pulls/pulls`.

mod settings;

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    ExposeSecret as _, SecretString,
    config::SettingValue,
    http::{
        HeaderMap, Method, StatusCode,
        client::{Client, base_url},
    },
    identity::TenantId,
    module::Registry,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub(in crate::fix) use settings::GitHubSettings;

use super::{
    CodeBranch, CodeChange, CodeFile, CodeHost, CodeHostError, CodeHostErrorKind, NewPullRequest, PullRequest,
};

/// Longest duration of a call.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Largest response that is read, in bytes: GitHub sends files of up to 1 MB, in base64.
const MAX_RESPONSE_BYTES: usize = 2 * 1024 * 1024;
/// Longest message of GitHub that is passed on, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// Characters that are encoded in a segment of a path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The permission of a tenant to use a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepositoryGrant {
    /// The tenant. `None` for all tenants.
    tenant: Option<TenantId>,
    owner: String,
    /// The name. `None` for all repositories of the owner.
    name: Option<String>,
}

impl SettingValue for RepositoryGrant {
    const EXPECTED: &'static str = "tenants with repositories, e.g. 0190a7c8-0000-7000-8000-000000000001=acme/shop";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a tenant with a repository: write it as TENANT=owner/name");
        let (tenant, repository) = text.trim().split_once('=').ok_or_else(wrong)?;
        let tenant = match tenant.trim() {
            "*" => None,
            id => Some(id.parse().map_err(|_| wrong())?),
        };
        let (owner, name) = repository_parts(repository.trim()).ok_or_else(wrong)?;
        let name = Some(name).filter(|name| *name != "*").map(str::to_owned);
        Ok(Self { tenant, owner: owner.to_owned(), name })
    }
}

impl RepositoryGrant {
    fn permits(&self, tenant: TenantId, owner: &str, name: &str) -> bool {
        self.tenant.is_none_or(|known| known == tenant)
            && self.owner.eq_ignore_ascii_case(owner)
            && self.name.as_deref().is_none_or(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Returns the owner and the name of a repository.
fn repository_parts(text: &str) -> Option<(&str, &str)> {
    let (owner, name) = text.split_once('/')?;
    let is_part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !matches!(part, "" | "." | "..") && part.len() <= 100 && part.bytes().all(allowed)
    };
    (is_part(owner) && (name == "*" || is_part(name))).then_some((owner, name))
}

/// GitHub, with one token for the repositories in the settings.
#[derive(Clone)]
pub struct GitHub {
    client: Client,
    base: Url,
    token: SecretString,
    grants: Vec<RepositoryGrant>,
}

impl std::fmt::Debug for GitHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitHub").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct ContentResponse {
    sha: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    encoding: String,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Deserialize)]
struct ObjectResponse {
    sha: String,
}

#[derive(Deserialize)]
struct RefResponse {
    object: ObjectResponse,
}

#[derive(Deserialize)]
struct CommitResponse {
    commit: ObjectResponse,
}

#[derive(Deserialize)]
struct PullResponse {
    number: u64,
    html_url: String,
}

impl GitHub {
    /// Creates the host of the settings. Returns `None` without a token, or after a problem was reported.
    pub(in crate::fix) fn from_settings(registry: &mut Registry, settings: GitHubSettings) -> Option<Self> {
        let token = settings.token?;
        let base = match base_url(&settings.url) {
            Ok(base) => base,
            Err(error) => {
                registry.report_problem(format!("`AI_GITHUB_URL`: {error}"), "set it to https://…, or unset it");
                return None;
            }
        };
        Some(Self { client: registry.settings_client()?, base, token, grants: settings.repositories })
    }

    /// Returns the URL below a repository, if the tenant may use it.
    fn url(&self, at: &CodeBranch, segments: &[&str]) -> Result<Url, CodeHostError> {
        let parts = repository_parts(&at.repository).filter(|(owner, name)| {
            *name != "*" && self.grants.iter().any(|grant| grant.permits(at.tenant, owner, name))
        });
        let Some((owner, name)) = parts else {
            let message = format!("the tenant may not use the repository {}", at.repository);
            return Err(CodeHostError::new(CodeHostErrorKind::RepositoryNotAllowed, message));
        };
        let mut path = format!("{}/repos/{owner}/{name}", self.base.path().trim_end_matches('/'));
        for segment in segments {
            for part in segment.split('/') {
                // Such a part would lead to another repository.
                if matches!(part, "" | "." | "..") {
                    return Err(CodeHostError::new(CodeHostErrorKind::NotFound, "there is no such file or branch"));
                }
                path.push('/');
                path.extend(utf8_percent_encode(part, ENCODED));
            }
        }
        let mut url = self.base.clone();
        url.set_path(&path);
        Ok(url)
    }

    /// Sends a request, and returns the status, the headers and the body of the response.
    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<GitHubAnswer, CodeHostError> {
        let request = self.client.request(method, url).timeout(TIMEOUT).bearer_auth(self.token.expose_secret());
        let request = request
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            .header("user-agent", "omnistack");
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let mut response = request.send().await.map_err(|error| unavailable(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(&error))? {
            if bytes.len() + chunk.len() > MAX_RESPONSE_BYTES {
                let message = format!("the response of GitHub has more than {MAX_RESPONSE_BYTES} bytes");
                return Err(CodeHostError::new(CodeHostErrorKind::InvalidRequest, message));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(GitHubAnswer { status, headers, body: bytes })
    }
}

/// A response of GitHub.
struct GitHubAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl GitHubAnswer {
    fn read<T: DeserializeOwned>(self) -> Result<T, CodeHostError> {
        if !self.status.is_success() {
            return Err(self.error());
        }
        serde_json::from_slice(&self.body)
            .map_err(|_| CodeHostError::new(CodeHostErrorKind::Unavailable, "the response of GitHub can't be read"))
    }

    fn error(&self) -> CodeHostError {
        use CodeHostErrorKind as K;
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let message: String = body["message"].as_str().unwrap_or_default().chars().take(MAX_MESSAGE_CHARS).collect();
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after =
            header("retry-after").and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
        let is_limited = retry_after.is_some() || header("x-ratelimit-remaining") == Some("0");
        let kind = match self.status.as_u16() {
            429 => K::RateLimited,
            403 if is_limited => K::RateLimited,
            401 | 403 => K::Unauthorized,
            404 | 410 => K::NotFound,
            409 => K::Conflict,
            500.. => K::Unavailable,
            _ => K::InvalidRequest,
        };
        let mut error = CodeHostError::new(kind, format!("GitHub answers {}: {message}", self.status.as_u16()));
        error.retry_after = retry_after;
        error
    }
}

fn unavailable(error: &reqwest::Error) -> CodeHostError {
    let what = if error.is_timeout() { "has not answered in time" } else { "can't be reached" };
    CodeHostError::new(CodeHostErrorKind::Unavailable, format!("GitHub {what}"))
}

#[async_trait]
impl CodeHost for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    async fn read(&self, at: &CodeBranch, path: &str) -> Result<Option<CodeFile>, CodeHostError> {
        let mut url = self.url(at, &["contents", path])?;
        url.query_pairs_mut().append_pair("ref", &at.branch);
        let answer = self.send(Method::GET, url, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let found: ContentResponse = answer.read()?;
        let unusable = |what: &str| CodeHostError::new(CodeHostErrorKind::InvalidRequest, format!("{path} {what}"));
        if found.kind != "file" || found.encoding != "base64" {
            return Err(unusable("is no file of at most 1 MB"));
        }
        let encoded: String = found.content.split_ascii_whitespace().collect();
        let bytes = STANDARD.decode(encoded).map_err(|_| unusable("can't be decoded"))?;
        let text = String::from_utf8(bytes).map_err(|_| unusable("is no text in UTF-8"))?;
        Ok(Some(CodeFile { text, version: found.sha }))
    }

    async fn commit(&self, at: &CodeBranch, change: &CodeChange) -> Result<String, CodeHostError> {
        let url = self.url(at, &["contents", &change.path])?;
        let body = json!({
            "message": change.message,
            "content": STANDARD.encode(&change.text),
            "sha": change.version,
            "branch": at.branch,
        });
        let made: CommitResponse = self.send(Method::PUT, url, Some(&body)).await?.read()?;
        Ok(made.commit.sha)
    }

    async fn create_branch(&self, from: &CodeBranch, name: &str) -> Result<(), CodeHostError> {
        let existing = self.send(Method::GET, self.url(from, &["git/ref/heads", name])?, None).await?;
        if existing.status.is_success() {
            return Ok(());
        }
        let url = self.url(from, &["git/ref/heads", &from.branch])?;
        let start: RefResponse = self.send(Method::GET, url, None).await?.read()?;
        let body = json!({ "ref": format!("refs/heads/{name}"), "sha": start.object.sha });
        let _: Value = self.send(Method::POST, self.url(from, &["git/refs"])?, Some(&body)).await?.read()?;
        Ok(())
    }

    async fn open_pull_request(&self, into: &CodeBranch, new: &NewPullRequest) -> Result<PullRequest, CodeHostError> {
        let owner = into.repository.split('/').next().unwrap_or_default();
        let mut url = self.url(into, &["pulls"])?;
        url.query_pairs_mut()
            .append_pair("state", "open")
            .append_pair("head", &format!("{owner}:{}", new.head))
            .append_pair("base", &into.branch);
        let open: Vec<PullResponse> = self.send(Method::GET, url, None).await?.read()?;
        let found = match open.into_iter().next() {
            Some(found) => found,
            None => {
                let body = json!({ "title": new.title, "head": new.head, "base": into.branch, "body": new.body });
                self.send(Method::POST, self.url(into, &["pulls"])?, Some(&body)).await?.read()?
            }
        };
        Ok(PullRequest { number: found.number, url: found.html_url })
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::id::Id;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_branch_leads_to_no_other_repository() {
        let tenant = Id::from_uuid(Uuid::from_u128(1));
        let github = GitHub {
            client: omnistack_core::http::client::ClientSettings::default().client().unwrap(),
            base: "https://api.github.com/v3/".parse().unwrap(),
            token: "secret".to_owned().into(),
            grants: vec![RepositoryGrant::parse(&format!("{tenant}=acme/shop")).unwrap()],
        };
        let url = |repository: &str, branch: &str| {
            let at = CodeBranch::new(tenant, repository, branch);
            github.url(&at, &["git/ref/heads", branch]).map(|url| url.to_string()).map_err(|error| error.kind)
        };
        let base = "https://api.github.com/v3/repos/acme/shop/git/ref/heads";
        assert_eq!(url("acme/shop", "feature/a b?c#d"), Ok(format!("{base}/feature/a%20b%3Fc%23d")));
        assert_eq!(url("acme/shop", "%2e%2e/x"), Ok(format!("{base}/%252e%252e/x")));
        for branch in ["..", "../../../../../evil/bank/git/ref/heads/main", "a/./b", "a//b", "/a", ""] {
            assert_eq!(url("acme/shop", branch), Err(CodeHostErrorKind::NotFound), "{branch}");
        }
        assert_eq!(url("evil/bank", "main"), Err(CodeHostErrorKind::RepositoryNotAllowed));
        assert!(!format!("{github:?}").contains("secret"));
    }

    #[test]
    fn a_grant_names_a_tenant_and_a_repository() {
        let (tenant, other) = (Id::from_uuid(Uuid::from_u128(1)), Id::from_uuid(Uuid::from_u128(2)));
        let one = RepositoryGrant::parse(&format!("{tenant}=acme/shop")).unwrap();
        assert!(one.permits(tenant, "Acme", "shop"));
        assert!(!one.permits(other, "acme", "shop") && !one.permits(tenant, "acme", "bank"));
        let all = RepositoryGrant::parse("*=acme/*").unwrap();
        assert!(all.permits(other, "acme", "bank") && !all.permits(other, "evil", "bank"));
        for wrong in ["acme/shop", "x=acme/shop", "*=acme", "*=/x", "*=a b/c", "*=*/x", "*=../x"] {
            assert!(RepositoryGrant::parse(wrong).is_err(), "{wrong}");
        }
    }
}
