//! A code host in memory, for development and tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use omnistack_core::crypto::Sha256;

use super::{
    CodeBranch, CodeChange, CodeFile, CodeHost, CodeHostError, CodeHostErrorKind, NewPullRequest, PullRequest,
};

/// A pull request of the fake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FakePullRequest {
    /// The repository.
    pub repository: String,
    /// The branch into which it is to be merged.
    pub into: String,
    /// The request that opened it.
    pub request: NewPullRequest,
}

/// A code host in memory. Every tenant may use every repository. Cheap to clone; the clones share their content.
#[derive(Clone, Debug, Default)]
pub struct FakeCodeHost(Arc<Mutex<FakeContent>>);

#[derive(Debug, Default)]
struct FakeContent {
    /// The files of each branch, by repository and branch.
    branches: BTreeMap<(String, String), BTreeMap<String, String>>,
    pull_requests: Vec<FakePullRequest>,
    commits: u64,
    /// The errors of the next calls.
    errors: Vec<CodeHostError>,
}

impl FakeCodeHost {
    /// Creates a host without repositories.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a file of a branch, which is created if it does not exist.
    pub fn set_file(&self, repository: &str, branch: &str, path: &str, text: &str) {
        let mut content = self.content();
        let files = content.branches.entry((repository.to_owned(), branch.to_owned())).or_default();
        files.insert(path.to_owned(), text.to_owned());
    }

    /// Returns a file of a branch.
    pub fn file(&self, repository: &str, branch: &str, path: &str) -> Option<String> {
        self.content().branches.get(&(repository.to_owned(), branch.to_owned()))?.get(path).cloned()
    }

    /// Returns the pull requests, in the order in which they were opened.
    pub fn pull_requests(&self) -> Vec<FakePullRequest> {
        self.content().pull_requests.clone()
    }

    /// Makes the next call fail.
    pub fn fail_next(&self, error: CodeHostError) {
        self.content().errors.push(error);
    }

    /// Returns the number of commits.
    pub fn commits(&self) -> u64 {
        self.content().commits
    }

    fn content(&self) -> MutexGuard<'_, FakeContent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call, which fails if an error is waiting.
    fn call(&self) -> Result<MutexGuard<'_, FakeContent>, CodeHostError> {
        let mut content = self.content();
        if content.errors.is_empty() {
            return Ok(content);
        }
        Err(content.errors.remove(0))
    }
}

fn key(at: &CodeBranch) -> (String, String) {
    (at.repository.clone(), at.branch.clone())
}

fn no_branch(at: &CodeBranch) -> CodeHostError {
    let CodeBranch { repository, branch, .. } = at;
    CodeHostError::new(CodeHostErrorKind::NotFound, format!("{repository} has no branch {branch}"))
}

fn version_of(text: &str) -> String {
    Sha256::digest(text).to_string()
}

#[async_trait]
impl CodeHost for FakeCodeHost {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn read(&self, at: &CodeBranch, path: &str) -> Result<Option<CodeFile>, CodeHostError> {
        let content = self.call()?;
        let files = content.branches.get(&key(at)).ok_or_else(|| no_branch(at))?;
        Ok(files.get(path).map(|text| CodeFile { text: text.clone(), version: version_of(text) }))
    }

    async fn commit(&self, at: &CodeBranch, change: &CodeChange) -> Result<String, CodeHostError> {
        let mut content = self.call()?;
        let files = content.branches.get_mut(&key(at)).ok_or_else(|| no_branch(at))?;
        let known = files.get(&change.path).map(|text| version_of(text));
        if known.as_ref() != Some(&change.version) {
            return Err(CodeHostError::new(CodeHostErrorKind::Conflict, "the file has changed"));
        }
        files.insert(change.path.clone(), change.text.clone());
        content.commits += 1;
        Ok(format!("fake-commit-{}", content.commits))
    }

    async fn create_branch(&self, from: &CodeBranch, name: &str) -> Result<(), CodeHostError> {
        let mut content = self.call()?;
        let files = content.branches.get(&key(from)).ok_or_else(|| no_branch(from))?.clone();
        content.branches.entry((from.repository.clone(), name.to_owned())).or_insert(files);
        Ok(())
    }

    async fn open_pull_request(&self, into: &CodeBranch, new: &NewPullRequest) -> Result<PullRequest, CodeHostError> {
        let mut content = self.call()?;
        let is_same = |known: &FakePullRequest| {
            known.repository == into.repository && known.into == into.branch && known.request.head == new.head
        };
        let index = content.pull_requests.iter().position(is_same).unwrap_or_else(|| {
            let (repository, into) = (into.repository.clone(), into.branch.clone());
            content.pull_requests.push(FakePullRequest { repository, into, request: new.clone() });
            content.pull_requests.len() - 1
        });
        let number = u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1);
        Ok(PullRequest { number, url: format!("https://code.example/{}/pull/{number}", into.repository) })
    }
}
