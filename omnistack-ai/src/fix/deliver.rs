//! The job that writes an approved patch to its branch or to a pull request.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    http::Error,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{
    code_host::{CodeBranch, CodeChange, CodeHost, CodeHostError, CodeHostErrorKind, NewPullRequest},
    model::{FixFinding, FixId},
    service::Fixes,
    state::{FixApproval, FixApprover, FixEvent, FixFailure, FixProposal, FixStatus},
    store,
};

/// Longest title of a commit and a pull request, in characters.
const MAX_TITLE_CHARS: usize = 72;

/// Shortest and longest time for which a delivery waits for a host that limits its requests.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

/// A character that is not visible and ends a mention or a reference.
const MENTION_END: char = '\u{200b}';

/// The job that delivers a fix. A repeated run finds what an earlier one has done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeliverFix {
    pub(super) tenant: TenantId,
    pub(super) fix: FixId,
}

/// The parts of a delivery: the fix, its approval, and the branch to which it is delivered.
struct Delivery {
    status: FixStatus,
    proposal: FixProposal,
    approval: FixApproval,
    finding: FixFinding,
    at: CodeBranch,
}

#[async_trait]
impl Job for DeliverFix {
    const NAME: &'static str = "ai.deliver_fix";
    const MAX_ATTEMPTS: u32 = 6;
    const TIMEOUT: Duration = Duration::from_secs(5 * 60);

    type State = Fixes;

    async fn run(self, fixes: &Fixes, ctx: &JobContext) -> Result<(), JobError> {
        let Some(delivery) = self.load(fixes).await? else { return Ok(()) };
        let Some(host) = fixes.0.hosts.get() else {
            let failure = failure("CODE_HOST_MISSING", "the app reaches no code host");
            return Ok(self.append(fixes, &FixEvent::DeliveryFailed { failure, is_final: false }).await?);
        };
        let delivered = match delivery.status {
            FixStatus::Applying => self.apply(host.as_ref(), &delivery).await,
            _ => self.open_pull_request(host.as_ref(), &delivery).await,
        };
        // The host says when it accepts requests again. Until then an attempt would only be used up. A fix that waits
        // for too long is ended by another job.
        if let Err(CodeHostError { kind: CodeHostErrorKind::RateLimited, retry_after: Some(wait), .. }) = &delivered {
            return Err(JobError::snooze((*wait).clamp(MIN_WAIT, MAX_WAIT)));
        }
        let event = match delivered {
            Ok(event) => event,
            Err(error) if error.is_retryable() && !ctx.is_last_attempt() => return Err(JobError::retry(error)),
            Err(error) => {
                let is_final = error.kind == CodeHostErrorKind::Conflict;
                FixEvent::DeliveryFailed { failure: failure(error.kind.code(), &error.message), is_final }
            }
        };
        Ok(self.append(fixes, &event).await?)
    }
}

fn failure(code: &str, message: &str) -> FixFailure {
    FixFailure { code: code.to_owned(), message: message.to_owned() }
}

impl DeliverFix {
    /// Returns what is to be delivered, after the ledger has proved its approval. Returns `None` if there is nothing.
    async fn load(&self, fixes: &Fixes) -> Result<Option<Delivery>, Error> {
        let mut tx = fixes.begin(self.tenant).await?;
        let Some(record) = store::lock(&mut tx, self.tenant, self.fix).await? else { return Ok(None) };
        let status = record.state.status;
        if !matches!(status, FixStatus::Applying | FixStatus::OpeningPullRequest) {
            return Ok(None);
        }
        let entries = store::ledger(&mut tx, &record).await?;
        let finding = store::finding(&mut tx, self.tenant, record.state.finding).await?;
        let is_whole = store::verify(&record, &entries).is_ok();
        let proved = record.state.approved_proposal().cloned().zip(record.state.approval).filter(|_| is_whole);
        let Some((proposal, approval)) = proved else {
            let failure = failure("FIX_LEDGER_BROKEN", "the ledger of the fix does not prove its approval");
            fixes.record(&mut tx, record, &FixEvent::DeliveryFailed { failure, is_final: true }, None).await?;
            tx.commit().await?;
            return Ok(None);
        };
        tx.rollback().await?;
        let Some(finding) = finding else { return Ok(None) };
        let (Some(repository), Some(branch)) = (finding.repository.clone(), finding.branch.clone()) else {
            return Ok(None);
        };
        let at = CodeBranch::new(self.tenant, repository, branch);
        Ok(Some(Delivery { status, proposal, approval, finding, at }))
    }

    async fn append(&self, fixes: &Fixes, event: &FixEvent) -> Result<(), Error> {
        let mut tx = fixes.begin(self.tenant).await?;
        let Some(record) = store::lock(&mut tx, self.tenant, self.fix).await? else { return Ok(()) };
        if matches!(record.state.status, FixStatus::Applying | FixStatus::OpeningPullRequest) {
            fixes.record(&mut tx, record, event, None).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn apply(&self, host: &dyn CodeHost, delivery: &Delivery) -> Result<FixEvent, CodeHostError> {
        let commit = self.commit(host, delivery, &delivery.at).await?;
        Ok(FixEvent::Applied { commit })
    }

    async fn open_pull_request(&self, host: &dyn CodeHost, delivery: &Delivery) -> Result<FixEvent, CodeHostError> {
        let branch = format!("omnistack/fix-{}", self.fix);
        host.create_branch(&delivery.at, &branch).await?;
        let head = CodeBranch { branch: branch.clone(), ..delivery.at.clone() };
        self.commit(host, delivery, &head).await?;
        let title = title(&delivery.finding.rule, &delivery.finding.path);
        let request = NewPullRequest { head: branch.clone(), title, body: self.description(delivery) };
        let opened = host.open_pull_request(&delivery.at, &request).await?;
        Ok(FixEvent::PullRequestOpened { number: opened.number, url: opened.url, branch })
    }

    /// Commits the fixed file, unless the branch has it already. Returns the id of the commit.
    async fn commit(
        &self,
        host: &dyn CodeHost,
        delivery: &Delivery,
        at: &CodeBranch,
    ) -> Result<Option<String>, CodeHostError> {
        let Delivery { proposal, finding, .. } = delivery;
        let Some(file) = host.read(at, &finding.path).await? else {
            return Err(CodeHostError::new(CodeHostErrorKind::Conflict, "the branch has no such file any more"));
        };
        if proposal.fixed_hash.matches(&file.text) {
            return Ok(None);
        }
        if !proposal.base_hash.matches(&file.text) {
            return Err(CodeHostError::new(CodeHostErrorKind::Conflict, "the file has changed since the patch"));
        }
        let change = CodeChange {
            path: finding.path.clone(),
            text: proposal.fixed_code.clone(),
            version: file.version,
            message: format!("{}\n\nFix {} of result {}.", title(&finding.rule, &finding.path), self.fix, finding.id),
        };
        match host.commit(at, &change).await {
            // Another run of the job may have been faster, such as one whose worker was taken for dead.
            Err(error) if error.kind == CodeHostErrorKind::Conflict => match host.read(at, &finding.path).await? {
                Some(file) if proposal.fixed_hash.matches(&file.text) => Ok(None),
                _ => Err(error),
            },
            committed => committed.map(Some),
        }
    }

    fn description(&self, delivery: &Delivery) -> String {
        let Delivery { proposal, approval, finding, .. } = delivery;
        let approver = match approval.by {
            FixApprover::Person => "by a person",
            FixApprover::Rule => "by the rule of the app",
        };
        format!(
            "{}\n\n**Finding:** {} ({}), `{}`, lines {} to {}\n**Model:** {}, confidence {} %\n\
             **Approved:** {approver}\n**Fix:** {}\n",
            plain(&proposal.explanation),
            plain(&finding.rule),
            finding.severity.as_str(),
            finding.path.replace('`', "'"),
            finding.start_line,
            finding.end_line,
            plain(&proposal.spend.model),
            proposal.confidence,
            self.fix,
        )
    }
}

/// Returns the title of a commit and a pull request. Tenants choose the rule and the path, so the title is changed to
/// mention no account and to close no issue, as a code host would do for words such as "Fix #7".
fn title(rule: &str, path: &str) -> String {
    let mut title = String::new();
    for letter in format!("Fix {rule} in {path}").chars().take(MAX_TITLE_CHARS) {
        title.push(if letter.is_control() { ' ' } else { letter });
        if begins_mention(letter) {
            title.push(MENTION_END);
        }
    }
    title
}

/// Returns a text in which the code host finds no mentions, references, images and other markup: models and tenants
/// have written it.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '!' | '|') {
            plain.push('\\');
        }
        plain.push(letter);
        if begins_mention(letter) {
            plain.push(MENTION_END);
        }
    }
    plain
}

/// Returns whether a mention of an account or a reference begins with a letter.
const fn begins_mention(letter: char) -> bool {
    matches!(letter, '@' | '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_model_mentions_no_account() {
        assert_eq!(plain("fixes #7, @ada"), "fixes #\u{200b}7, @\u{200b}ada");
        assert_eq!(plain("![x](y) <b>"), "\\!\\[x\\](y) \\<b\\>");
        assert_eq!(title("#7\n", "src/@ada.rs"), "Fix #\u{200b}7  in src/@\u{200b}ada.rs");
        assert_eq!(title(&"r".repeat(200), "a").chars().count(), MAX_TITLE_CHARS);
    }
}
