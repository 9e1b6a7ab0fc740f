//! The job that asks a model for a fix.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    data_environment::DataEnvironment,
    http::Error,
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    usage::{UsageEvent, meters},
};
use serde::{Deserialize, Serialize};

use super::{
    code_host::{CodeBranch, CodeHostErrorKind},
    model::{FixFinding, FixId},
    patch,
    prompt::{self, FixAnswer},
    service::Fixes,
    state::{FixApprover, FixEvent, FixFailure, FixProposal, FixState, FixStatus, ModelSpend},
    store,
};
use crate::{
    call::{AiCaller, CallOptions},
    gateway::{AiError, GatewayAnswer},
};

/// Most answers of a model that are asked for in one attempt. After a patch that can't be used, the model learns why.
const MAX_CANDIDATES: u32 = 2;
/// Largest file that a model is asked about, in bytes.
const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Longest reason of a failure that is stored, in characters.
const MAX_REASON_CHARS: usize = 500;

/// The job that generates a fix. If its process dies after the call of a model, the model is asked again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct GenerateFix {
    pub(super) tenant: TenantId,
    pub(super) fix: FixId,
}

/// The reason why an attempt ended without a patch.
enum GenerationError {
    /// The attempt may succeed later.
    Retry(FixFailure),
    /// The fix has failed.
    Final(FixFailure),
    /// The database failed.
    Database(Error),
}

impl From<Error> for GenerationError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

#[async_trait]
impl Job for GenerateFix {
    const NAME: &'static str = "ai.generate_fix";
    // The last waits are minutes long: providers that are away or limit their requests need them.
    const MAX_ATTEMPTS: u32 = 10;
    const TIMEOUT: Duration = Duration::from_secs(20 * 60);

    type State = Fixes;

    async fn run(self, fixes: &Fixes, ctx: &JobContext) -> Result<(), JobError> {
        let Some((state, finding)) = self.start(fixes, ctx.attempt()).await? else { return Ok(()) };
        _ = ctx.progress(10, "reading the code").await;
        match self.generate(fixes, &state, &finding, ctx).await {
            Ok(proposal) => {
                self.propose(fixes, proposal).await?;
                _ = ctx.progress(100, "ready").await;
                Ok(())
            }
            Err(GenerationError::Retry(failure)) if !ctx.is_last_attempt() => {
                Err(JobError::retry(format!("{}: {}", failure.code, failure.message)))
            }
            Err(GenerationError::Retry(failure) | GenerationError::Final(failure)) => {
                self.append(fixes, &FixEvent::Failed { failure }).await?;
                Ok(())
            }
            Err(GenerationError::Database(error)) => Err(error.into()),
        }
    }
}

impl GenerateFix {
    /// Records that an attempt begins. Returns `None` if the fix waits for no model, or was deleted.
    async fn start(&self, fixes: &Fixes, attempt: u32) -> Result<Option<(FixState, FixFinding)>, Error> {
        let mut tx = fixes.begin(self.tenant).await?;
        let Some(record) = store::lock(&mut tx, self.tenant, self.fix).await? else { return Ok(None) };
        if !matches!(record.state.status, FixStatus::Queued | FixStatus::Generating) {
            return Ok(None);
        }
        let Some(finding) = store::finding(&mut tx, self.tenant, record.state.finding).await? else {
            return Ok(None);
        };
        let record = fixes.record(&mut tx, record, &FixEvent::Started { attempt }, None).await?;
        tx.commit().await?;
        Ok(Some((record.state, finding)))
    }

    /// Adds an event, unless the fix waits for no model any more.
    async fn append(&self, fixes: &Fixes, event: &FixEvent) -> Result<(), Error> {
        let mut tx = fixes.begin(self.tenant).await?;
        let Some(record) = store::lock(&mut tx, self.tenant, self.fix).await? else { return Ok(()) };
        if matches!(record.state.status, FixStatus::Queued | FixStatus::Generating) {
            fixes.record(&mut tx, record, event, None).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn propose(&self, fixes: &Fixes, proposal: FixProposal) -> Result<(), Error> {
        let is_approved = fixes.0.policy.approves(proposal.confidence, proposal.changed_lines);
        let patch_hash = proposal.patch_hash;
        let mut tx = fixes.begin(self.tenant).await?;
        let Some(record) = store::lock(&mut tx, self.tenant, self.fix).await? else { return Ok(()) };
        if record.state.status != FixStatus::Generating {
            return Ok(());
        }
        let event = FixEvent::Proposed { proposal: Box::new(proposal) };
        let record = fixes.record(&mut tx, record, &event, None).await?;
        let used = self.usage_event(&record.state, fixes.now());
        if is_approved {
            let event = FixEvent::Approved { by: FixApprover::Rule, patch_hash };
            fixes.record(&mut tx, record, &event, None).await?;
        }
        // Last, because other transactions of the tenant that record usage wait for the commit.
        fixes.0.usage.record_in(&mut tx, [used]).await?;
        Ok(tx.commit().await?)
    }

    /// Returns the usage of a fix that is proposed.
    fn usage_event(&self, state: &FixState, at: Timestamp) -> UsageEvent {
        let event = UsageEvent::new(self.tenant, meters::AI_FIXES, 1, at).once("fixes", self.fix.to_string());
        let event = event.category(state.model.clone()).api_key(state.api_key);
        match state.requested_by {
            Some(user) => event.user(user),
            None => event,
        }
    }

    async fn generate(
        &self,
        fixes: &Fixes,
        state: &FixState,
        finding: &FixFinding,
        ctx: &JobContext,
    ) -> Result<FixProposal, GenerationError> {
        let file = self.file(fixes, finding).await?;
        let mut request = prompt::request(&state.model, finding, &file, fixes.0.settings.context_lines);
        let mut reason = String::new();
        for candidate in 1..=MAX_CANDIDATES {
            _ = ctx.progress(if candidate == 1 { 30 } else { 60 }, "asking the model").await;
            let answer = fixes.0.gateway.complete(self.caller(state), request.clone(), options(state)).await;
            let answer = answer.map_err(|error| failure_of(&error))?;
            let text = answer.response.text();
            match read_answer(fixes, finding, &file, &text) {
                Ok((answered, checked)) => {
                    return Ok(FixProposal {
                        patch_hash: Sha256::digest(&checked.patch),
                        base_hash: Sha256::digest(&file),
                        fixed_hash: Sha256::digest(&checked.fixed),
                        patch: checked.patch,
                        fixed_code: checked.fixed,
                        confidence: answered.percent(),
                        explanation: answered.explanation,
                        changed_lines: checked.changed_lines,
                        spend: spend_of(&answer),
                    });
                }
                Err(why) => {
                    reason = why.chars().take(MAX_REASON_CHARS).collect();
                    let event = FixEvent::CandidateRejected { reason: reason.clone(), spend: spend_of(&answer) };
                    self.append(fixes, &event).await?;
                    prompt::ask_again(&mut request, &text, &reason);
                }
            }
        }
        Err(GenerationError::Final(failure("FIX_REJECTED", format!("no usable patch: {reason}"))))
    }

    fn caller(&self, state: &FixState) -> AiCaller {
        AiCaller {
            tenant: self.tenant,
            environment: DataEnvironment::default(),
            user: state.requested_by,
            api_key: state.api_key,
        }
    }

    /// Returns the file of a finding.
    async fn file(&self, fixes: &Fixes, finding: &FixFinding) -> Result<String, GenerationError> {
        let file = match (&finding.code, &finding.repository, &finding.branch) {
            (Some(code), ..) => code.clone(),
            (None, Some(repository), Some(branch)) => {
                let Some(host) = fixes.0.hosts.get() else {
                    let message = "the app reaches no code host";
                    return Err(GenerationError::Final(failure("CODE_HOST_MISSING", message)));
                };
                let at = CodeBranch::new(self.tenant, repository.clone(), branch.clone());
                let found = host.read(&at, &finding.path).await.map_err(|error| {
                    let failed = failure(error.kind.code(), error.message.clone());
                    if error.is_retryable() { GenerationError::Retry(failed) } else { GenerationError::Final(failed) }
                })?;
                let missing = || failure(CodeHostErrorKind::NotFound.code(), "the branch has no such file");
                found.ok_or_else(|| GenerationError::Final(missing()))?.text
            }
            _ => return Err(GenerationError::Final(failure("CODE_NOT_FOUND", "the result has no code"))),
        };
        if file.len() > MAX_FILE_BYTES {
            let message = format!("the file has more than {MAX_FILE_BYTES} bytes");
            return Err(GenerationError::Final(failure("CODE_TOO_LARGE", message)));
        }
        if file.contains('\0') {
            return Err(GenerationError::Final(failure("CODE_NOT_TEXT", "the file is no text")));
        }
        Ok(file)
    }
}

fn failure(code: impl Into<String>, message: impl Into<String>) -> FixFailure {
    FixFailure { code: code.into(), message: message.into().chars().take(MAX_REASON_CHARS).collect() }
}

fn options(state: &FixState) -> CallOptions {
    CallOptions { provider: state.provider.clone(), purpose: Some("fixes"), ..CallOptions::default() }
}

/// Returns the answer of a model and its patch, or what is wrong with it, for the model.
fn read_answer(
    fixes: &Fixes,
    finding: &FixFinding,
    file: &str,
    text: &str,
) -> Result<(FixAnswer, patch::CheckedPatch), String> {
    let answer = FixAnswer::read(text)?;
    let checked = patch::check(&finding.path, file, &answer.patch, &fixes.0.policy)?;
    Ok((answer, checked))
}

fn spend_of(answer: &GatewayAnswer) -> ModelSpend {
    let call = &answer.call;
    ModelSpend {
        call: call.id.to_string(),
        provider: call.provider.clone(),
        model: call.model.clone(),
        cost_pico: call.cost.as_ref().map(|cost| cost.pico()),
    }
}

fn failure_of(error: &AiError) -> GenerationError {
    match error {
        AiError::Upstream(error) => {
            let failed = failure("MODEL_FAILED", error.to_string());
            if error.is_retryable() { GenerationError::Retry(failed) } else { GenerationError::Final(failed) }
        }
        AiError::Refused(error) => {
            let failed = failure(error.code(), error.to_string());
            let may_pass = error.status().is_server_error() || error.status().as_u16() == 429;
            if may_pass { GenerationError::Retry(failed) } else { GenerationError::Final(failed) }
        }
    }
}
