//! The operations of callers on findings and fixes.

use std::sync::Arc;

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    db::{Db, Tx},
    http::{Error, FieldError, StatusCode},
    identity::{Entitlements, Identity, TenantId, UserId},
    jobs::{Jobs, NewJob},
    metrics::AI_FIXES,
    realtime::{RealtimeChannel, RealtimePublisher},
    usage::{UsageSink, meters},
};
use serde_json::json;

use super::{
    code_host::CodeHosts,
    deliver::DeliverFix,
    generate::GenerateFix,
    ledger::FixLedgerEntry,
    model::{CodeFix, FindingSeverity, FixFinding, FixFindingId, FixId, FixProgressMessage},
    policy::{FixPolicy, check_branch_form, check_path_form},
    settings::FixSettings,
    state::{DeliveryTarget, FixApprover, FixEvent, FixStatus},
    store::{self, FixRecord},
};
use crate::{
    accounting::{BudgetPeriod, first_id},
    gateway::AiGateway,
};

/// Findings and fixes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fixes(pub(super) Arc<FixParts>);

pub(super) struct FixParts {
    /// The app's own database.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) jobs: Jobs,
    pub(super) realtime: RealtimePublisher,
    pub(super) audit: AuditLog,
    pub(super) gateway: AiGateway,
    pub(super) usage: UsageSink,
    pub(super) entitlements: Entitlements,
    pub(super) hosts: CodeHosts,
    pub(super) policy: FixPolicy,
    pub(super) settings: FixSettings,
}

/// A finding to add.
pub(super) struct NewFinding {
    pub(super) repository: Option<String>,
    pub(super) branch: Option<String>,
    pub(super) path: String,
    pub(super) start_line: u32,
    pub(super) end_line: u32,
    pub(super) rule: String,
    pub(super) severity: FindingSeverity,
    pub(super) message: String,
    pub(super) code: Option<String>,
}

pub(super) fn no_fix() -> Error {
    Error::not_found("the fix")
}

fn no_finding() -> Error {
    Error::not_found("the result")
}

/// Returns the error of an action that the status of a fix does not permit.
fn wrong_status(status: FixStatus, what: &str) -> Error {
    let message = format!("the fix is `{status}`; {what}");
    Error::conflict("FIX_STATE_CONFLICT", message).with_detail("status", status)
}

impl Fixes {
    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) async fn begin(&self, tenant: TenantId) -> Result<Tx, Error> {
        Ok(self.0.db.tenant(tenant).begin().await?)
    }

    async fn begin_read(&self, tenant: TenantId) -> Result<Tx, Error> {
        Ok(self.0.db.tenant(tenant).begin_read().await?)
    }

    /// Adds an event to a fix that is locked, and tells the clients of the tenant.
    pub(super) async fn record(
        &self,
        tx: &mut Tx,
        record: FixRecord,
        event: &FixEvent,
        actor: Option<UserId>,
    ) -> Result<FixRecord, Error> {
        let before = record.state.status;
        let record = store::append(tx, record, event, actor, self.now()).await?;
        self.announce(tx, &record, event).await?;
        if record.state.status != before {
            let status = record.state.status.as_str();
            tx.on_commit(move || AI_FIXES.counter([status]).increment(1));
        }
        Ok(record)
    }

    async fn announce(&self, tx: &mut Tx, record: &FixRecord, event: &FixEvent) -> Result<(), Error> {
        let channel = RealtimeChannel::of_tenant(record.tenant, format!("fix:{}", record.id));
        let channel = channel.map_err(Error::internal)?;
        let (status, sequence) = (record.state.status, record.head.sequence);
        let message = FixProgressMessage { fix: record.id, status, step: step_of(event), sequence };
        Ok(self.0.realtime.publish_in(tx, channel, &message).await?)
    }

    /// Adds a finding.
    ///
    /// # Errors
    /// 422 if the path, the lines or the repository are invalid.
    pub(super) async fn add_finding(&self, caller: &Identity, new: NewFinding) -> Result<FixFinding, Error> {
        let tenant = caller.require_tenant()?;
        let mut problems = Vec::new();
        if let Err(reason) = check_path_form(&new.path) {
            problems.push(FieldError::new("path", reason));
        }
        if new.end_line < new.start_line {
            problems.push(FieldError::new("end_line", "must not be less than `start_line`"));
        }
        if new.repository.is_some() != new.branch.is_some() {
            problems.push(FieldError::new("branch", "is required with `repository`, and only with it"));
        }
        if let Some(Err(reason)) = new.branch.as_deref().map(check_branch_form) {
            problems.push(FieldError::new("branch", reason));
        }
        if new.code.is_none() && new.repository.is_none() {
            problems.push(FieldError::new("code", "is required without `repository`"));
        }
        let optional = [new.code.as_ref(), new.repository.as_ref(), new.branch.as_ref()];
        let texts = [Some(&new.rule), Some(&new.message)].into_iter().chain(optional);
        if texts.flatten().any(|text| text.contains('\0')) {
            problems.push(FieldError::new("code", "and the other texts must not contain NUL"));
        }
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        let now = self.now();
        let NewFinding { repository, branch, path, start_line, end_line, rule, severity, message, code } = new;
        let finding = FixFinding {
            id: FixFindingId::new(now),
            tenant,
            repository,
            branch,
            path,
            start_line,
            end_line,
            rule,
            severity,
            message,
            code,
            created_by: Some(caller.user),
            created_at: now,
        };
        let mut tx = self.begin(tenant).await?;
        store::insert_finding(&mut tx, &finding).await?;
        tx.commit().await?;
        Ok(finding)
    }

    /// Queues a fix of a finding.
    ///
    /// # Errors
    /// 404 if the tenant has no such finding, 422 if the policy protects its file, 429 `TOO_MANY_FIXES` if too many
    /// fixes of the tenant wait, 402 `PLAN_LIMIT_REACHED` if the tenant has as many fixes of this month, proposed or
    /// waiting, as the limit `ai_fixes` of its plan.
    pub(super) async fn generate(
        &self,
        caller: &Identity,
        finding: FixFindingId,
        provider: Option<String>,
    ) -> Result<FixId, Error> {
        let tenant = caller.require_tenant()?;
        let (now, max_waiting) = (self.now(), self.0.settings.max_waiting);
        let plan = self.0.entitlements.plan(tenant).await?;
        let mut tx = self.begin(tenant).await?;
        let found = store::finding(&mut tx, tenant, finding).await?.ok_or_else(no_finding)?;
        self.0.policy.check_path(&found.path).map_err(|reason| {
            let message = format!("the path of the result {reason}");
            Error::new(StatusCode::UNPROCESSABLE_ENTITY, "FIX_FORBIDDEN", message)
        })?;
        if store::count_waiting(&mut tx, tenant, max_waiting).await? >= i64::from(max_waiting) {
            let message = format!("{max_waiting} fixes wait for a model already; try again when some are ready");
            return Err(Error::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_FIXES", message));
        }
        let first = first_id(BudgetPeriod::Month.start(now));
        let count = async |tx: &mut Tx| store::count_since(tx, tenant, first).await;
        self.0.entitlements.check_limit_in(&mut tx, &plan, tenant, meters::AI_FIXES, count).await?;
        let id = FixId::new(now);
        let model = self.0.settings.model.clone();
        let event = FixEvent::Queued { finding, provider, model, api_key: caller.api_key };
        let record = store::create(&mut tx, (tenant, id), &event, Some(caller.user), now).await?;
        self.0.jobs.enqueue_in(&mut tx, NewJob::new(GenerateFix { tenant, fix: id }).tenant(tenant)).await?;
        self.announce(&mut tx, &record, &event).await?;
        tx.commit().await?;
        AI_FIXES.counter([FixStatus::Queued.as_str()]).increment(1);
        Ok(id)
    }

    /// Returns a fix.
    ///
    /// # Errors
    /// 404 if the tenant has no such fix.
    pub(super) async fn get(&self, tenant: TenantId, id: FixId) -> Result<CodeFix, Error> {
        let mut tx = self.begin_read(tenant).await?;
        let record = store::fix(&mut tx, tenant, id).await?;
        tx.commit().await?;
        Ok(record.ok_or_else(no_fix)?.view())
    }

    /// Returns the ledger of a fix, and whether it is whole and replays to the state of the fix.
    ///
    /// # Errors
    /// 404 if the tenant has no such fix.
    pub(super) async fn ledger(
        &self,
        tenant: TenantId,
        id: FixId,
    ) -> Result<(Vec<FixLedgerEntry>, Result<(), String>), Error> {
        let mut tx = self.begin_read(tenant).await?;
        let record = store::fix(&mut tx, tenant, id).await?.ok_or_else(no_fix)?;
        let entries = store::ledger(&mut tx, &record).await?;
        tx.commit().await?;
        let verified = store::verify(&record, &entries).map_err(|broken| broken.to_string());
        Ok((entries, verified))
    }

    /// Returns a finding with its newest fixes.
    ///
    /// # Errors
    /// 404 if the tenant has no such finding.
    pub(super) async fn of_finding(
        &self,
        tenant: TenantId,
        id: FixFindingId,
    ) -> Result<(FixFinding, Vec<CodeFix>), Error> {
        let mut tx = self.begin_read(tenant).await?;
        let finding = store::finding(&mut tx, tenant, id).await?.ok_or_else(no_finding)?;
        let fixes = store::fixes_of(&mut tx, tenant, id).await?;
        tx.commit().await?;
        Ok((finding, fixes.iter().map(FixRecord::view).collect()))
    }

    /// Approves the patch of a fix. Only a user can, in person.
    ///
    /// # Errors
    /// 403 without the permission `fixes:approve`, for API keys and for operators who impersonate a user; 404 if the
    /// tenant has no such fix; 409 `FIX_STATE_CONFLICT` if it does not wait for approval.
    pub(super) async fn approve(&self, caller: &Identity, id: FixId) -> Result<CodeFix, Error> {
        let tenant = caller.require_tenant()?;
        caller.require("fixes:approve")?;
        caller.require_in_person()?;
        let mut tx = self.begin(tenant).await?;
        let record = store::lock(&mut tx, tenant, id).await?.ok_or_else(no_fix)?;
        let patch_hash = match (&record.state.proposal, record.state.status) {
            (Some(proposal), FixStatus::Proposed) => proposal.patch_hash,
            (_, status) => return Err(wrong_status(status, "only a proposed patch can be approved")),
        };
        let event = FixEvent::Approved { by: FixApprover::Person, patch_hash };
        let record = self.record(&mut tx, record, &event, Some(caller.user)).await?;
        let entry = AuditEntry::new("ai_fix.approved").actor(caller).resource("ai_fix", id);
        self.0.audit.record_in(&mut tx, entry.details(json!({ "patch": patch_hash }))).await?;
        tx.commit().await?;
        Ok(record.view())
    }

    /// Delivers the approved patch of a fix to its branch or to a pull request.
    ///
    /// # Errors
    /// 403 without the permission `fixes:apply`; 404 if the tenant has no such fix; 409 `FIX_NOT_APPROVED` or
    /// `FIX_STATE_CONFLICT`; 409 `FIX_LEDGER_BROKEN` if the ledger does not prove the approval; 422
    /// `REPOSITORY_REQUIRED` for a pull request without a repository; 422 `CODE_HOST_MISSING` if the app has no code
    /// host.
    pub(super) async fn deliver(&self, caller: &Identity, id: FixId, target: DeliveryTarget) -> Result<CodeFix, Error> {
        let tenant = caller.require_tenant()?;
        caller.require("fixes:apply")?;
        caller.deny_impersonation()?;
        let mut tx = self.begin(tenant).await?;
        let record = store::lock(&mut tx, tenant, id).await?.ok_or_else(no_fix)?;
        match record.state.status {
            FixStatus::Approved => {}
            status @ FixStatus::Proposed => {
                let message = "the patch is not approved; approve it first";
                return Err(Error::conflict("FIX_NOT_APPROVED", message).with_detail("status", status));
            }
            status => return Err(wrong_status(status, "only an approved patch can be delivered")),
        }
        let entries = store::ledger(&mut tx, &record).await?;
        if store::verify(&record, &entries).is_err() || record.state.approved_proposal().is_none() {
            let message = "the ledger of the fix does not prove its approval; generate another fix";
            return Err(Error::conflict("FIX_LEDGER_BROKEN", message));
        }
        let finding = store::finding(&mut tx, tenant, record.state.finding).await?.ok_or_else(no_finding)?;
        let unprocessable = |code, message| Error::new(StatusCode::UNPROCESSABLE_ENTITY, code, message);
        if finding.repository.is_some() && self.0.hosts.get().is_none() {
            return Err(unprocessable("CODE_HOST_MISSING", "the app reaches no code host; set `AI_GITHUB_TOKEN`"));
        }
        if finding.repository.is_none() && target == DeliveryTarget::PullRequest {
            return Err(unprocessable("REPOSITORY_REQUIRED", "the result names no repository for a pull request"));
        }
        let event = FixEvent::DeliveryRequested { target };
        let mut record = self.record(&mut tx, record, &event, Some(caller.user)).await?;
        if finding.repository.is_some() {
            self.0.jobs.enqueue_in(&mut tx, NewJob::new(DeliverFix { tenant, fix: id }).tenant(tenant)).await?;
        } else {
            // The caller has the file, and writes it itself.
            let event = FixEvent::Applied { commit: None };
            record = self.record(&mut tx, record, &event, Some(caller.user)).await?;
        }
        let action = match target {
            DeliveryTarget::Branch => "ai_fix.apply_requested",
            DeliveryTarget::PullRequest => "ai_fix.pull_request_requested",
        };
        let entry = AuditEntry::new(action).actor(caller).resource("ai_fix", id);
        self.0.audit.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(record.view())
    }
}

/// Returns the step of an event, for clients.
fn step_of(event: &FixEvent) -> &'static str {
    match event {
        FixEvent::Queued { .. } => "queued",
        FixEvent::Started { .. } => "started",
        FixEvent::CandidateRejected { .. } => "candidate_rejected",
        FixEvent::Proposed { .. } => "proposed",
        FixEvent::Failed { .. } => "failed",
        FixEvent::Approved { .. } => "approved",
        FixEvent::DeliveryRequested { .. } => "delivery_requested",
        FixEvent::Applied { .. } => "applied",
        FixEvent::PullRequestOpened { .. } => "pull_request_opened",
        FixEvent::DeliveryFailed { .. } => "delivery_failed",
    }
}
