//! The contract of services that host code, such as GitHub.

mod fake;
#[cfg(feature = "github")]
mod github;
#[cfg(not(feature = "github"))]
#[path = "code_host/github/settings.rs"]
mod github;

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use omnistack_core::identity::TenantId;

pub use fake::{FakeCodeHost, FakePullRequest};
#[cfg(feature = "github")]
pub use github::GitHub;
pub(super) use github::GitHubSettings;

/// A branch of a repository, as a tenant names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodeBranch {
    /// The tenant. A host refuses repositories that are not the tenant's.
    pub tenant: TenantId,
    /// The repository, such as `owner/name`.
    pub repository: String,
    /// The branch.
    pub branch: String,
}

impl CodeBranch {
    /// Creates the name of a branch.
    pub fn new(tenant: TenantId, repository: impl Into<String>, branch: impl Into<String>) -> Self {
        Self { tenant, repository: repository.into(), branch: branch.into() }
    }
}

/// A file of text in a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeFile {
    /// The content.
    pub text: String,
    /// The version of the file, by which the host detects changes.
    pub version: String,
}

/// A change of a file to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeChange {
    /// The path of the file.
    pub path: String,
    /// The new content.
    pub text: String,
    /// The version of the file that is replaced.
    pub version: String,
    /// The message of the commit.
    pub message: String,
}

/// A pull request to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPullRequest {
    /// The branch with the changes.
    pub head: String,
    /// The title.
    pub title: String,
    /// The description, in Markdown.
    pub body: String,
}

/// A pull request that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// The number.
    pub number: u64,
    /// The address for people.
    pub url: String,
}

/// The kind of a failure of a code host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodeHostErrorKind {
    /// The tenant may not use the repository.
    RepositoryNotAllowed,
    /// The repository, the branch or the file does not exist.
    NotFound,
    /// The credentials are wrong, or lack a permission.
    Unauthorized,
    /// The file has changed since it was read.
    Conflict,
    /// The host rejects the request.
    InvalidRequest,
    /// The host limits the rate of requests.
    RateLimited,
    /// The host failed or can't be reached.
    Unavailable,
}

impl CodeHostErrorKind {
    /// Returns the error code, such as `REPOSITORY_NOT_ALLOWED`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::RepositoryNotAllowed => "REPOSITORY_NOT_ALLOWED",
            Self::NotFound => "CODE_NOT_FOUND",
            Self::Unauthorized => "CODE_HOST_UNAUTHORIZED",
            Self::Conflict => "CODE_CHANGED",
            Self::InvalidRequest => "CODE_HOST_REFUSED",
            Self::RateLimited => "CODE_HOST_RATE_LIMITED",
            Self::Unavailable => "CODE_HOST_UNAVAILABLE",
        }
    }
}

/// The error of a code host.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct CodeHostError {
    /// The kind.
    pub kind: CodeHostErrorKind,
    /// A description without credentials and without code.
    pub message: String,
    /// The time after which the host accepts requests again, if it states one.
    pub retry_after: Option<Duration>,
}

impl CodeHostError {
    /// Creates an error.
    pub fn new(kind: CodeHostErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// Returns whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, CodeHostErrorKind::RateLimited | CodeHostErrorKind::Unavailable)
    }
}

/// A service that hosts code. Each call has a time limit, and can be repeated: it then finds what it has done before.
#[async_trait]
pub trait CodeHost: Debug + Send + Sync + 'static {
    /// Returns the name, such as `github`.
    fn name(&self) -> &str;

    /// Returns a file, or `None` if the branch has no such file.
    ///
    /// # Errors
    /// See [`CodeHostErrorKind`].
    async fn read(&self, at: &CodeBranch, path: &str) -> Result<Option<CodeFile>, CodeHostError>;

    /// Commits a change to a branch, and returns the id of the commit.
    ///
    /// # Errors
    /// [`CodeHostErrorKind::Conflict`] if the file has another version; otherwise see [`CodeHostErrorKind`].
    async fn commit(&self, at: &CodeBranch, change: &CodeChange) -> Result<String, CodeHostError>;

    /// Creates the branch `name` where `from` is now. Does nothing if the branch exists.
    ///
    /// # Errors
    /// See [`CodeHostErrorKind`].
    async fn create_branch(&self, from: &CodeBranch, name: &str) -> Result<(), CodeHostError>;

    /// Opens a pull request into a branch. Returns the open one from the same branch if there is one.
    ///
    /// # Errors
    /// See [`CodeHostErrorKind`].
    async fn open_pull_request(&self, into: &CodeBranch, new: &NewPullRequest) -> Result<PullRequest, CodeHostError>;
}

/// The code host of the app, if it has one.
#[derive(Clone, Debug)]
pub(super) struct CodeHosts(Option<Arc<dyn CodeHost>>);

impl CodeHosts {
    pub(super) fn new(host: Option<Arc<dyn CodeHost>>) -> Self {
        Self(host)
    }

    pub(super) fn get(&self) -> Option<&Arc<dyn CodeHost>> {
        self.0.as_ref()
    }
}
