//! Findings and fixes, as the API shows them.

use omnistack_core::{
    clock::Timestamp,
    id::Id,
    identity::{TenantId, UserId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::state::{FixApprover, FixFailure, FixState, FixStatus};
use crate::catalog::Cost;

/// The id of a fix.
pub(crate) type FixId = Id<CodeFix>;
/// The id of a finding.
pub(crate) type FixFindingId = Id<FixFinding>;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingSeverity {
    /// A remark.
    Info,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl FindingSeverity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Returns the severity of a row, whose text the table restricts.
    pub(crate) fn from_row(text: &str) -> Self {
        let all = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];
        all.into_iter().find(|severity| severity.as_str() == text).unwrap_or(Self::Info)
    }
}

/// A finding in the code of a tenant: a problem at some lines of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FixFinding {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: FixFindingId,
    #[serde(skip)]
    pub(crate) tenant: TenantId,
    /// The repository, such as `owner/name`; `null` if the code is in none that the app reaches.
    #[schema(required)]
    pub(crate) repository: Option<String>,
    /// The branch.
    #[schema(required)]
    pub(crate) branch: Option<String>,
    /// The path of the file in the repository.
    pub(crate) path: String,
    /// The first line, counted from 1.
    pub(crate) start_line: u32,
    /// The last line.
    pub(crate) end_line: u32,
    /// The rule that the code breaks, such as `rust/unwrap`.
    pub(crate) rule: String,
    /// The severity.
    pub(crate) severity: FindingSeverity,
    /// A description of the problem.
    pub(crate) message: String,
    /// The file; `null` if it is read from the repository.
    #[schema(required)]
    pub(crate) code: Option<String>,
    /// The user who has added it; `null` if the app has.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub(crate) created_by: Option<UserId>,
    /// The time at which it was added.
    pub(crate) created_at: Timestamp,
}

/// A fix of a finding.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CodeFix {
    /// The id.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: FixId,
    /// The finding.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) result_id: FixFindingId,
    /// The status.
    pub(crate) status: FixStatus,
    /// The provider of the model that proposed the patch; until then the only provider to ask.
    #[schema(required)]
    pub(crate) provider: Option<String>,
    /// The model that proposed the patch; until then the model or route to ask.
    pub(crate) model: String,
    /// The whole file after the patch.
    #[schema(required)]
    pub(crate) fixed_code: Option<String>,
    /// The patch, as a unified diff.
    #[schema(required)]
    pub(crate) patch: Option<String>,
    /// The explanation of the model.
    #[schema(required)]
    pub(crate) explanation: Option<String>,
    /// The confidence that the model states, in percent.
    #[schema(required)]
    pub(crate) confidence: Option<u8>,
    /// The number of lines that the patch adds and removes.
    #[schema(required)]
    pub(crate) changed_lines: Option<u32>,
    /// The approver of the patch; `null` before the approval.
    #[schema(required)]
    pub(crate) approved_by: Option<FixApprover>,
    /// The user who has approved the patch; `null` if the rule of the app has.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub(crate) approver: Option<UserId>,
    /// The time of the approval.
    #[schema(required)]
    pub(crate) approved_at: Option<Timestamp>,
    /// The commit that has applied the patch; `null` if it was not applied, or outside the app.
    #[schema(required)]
    pub(crate) commit: Option<String>,
    /// The address of the pull request.
    #[schema(required)]
    pub(crate) pull_request_url: Option<String>,
    /// The reason of the last failure.
    #[schema(required)]
    pub(crate) error: Option<FixFailure>,
    /// The cost of all calls of models; `null` if the price of a call is not known.
    #[schema(required)]
    pub(crate) cost: Option<Cost>,
    /// The time of creation.
    pub(crate) created_at: Timestamp,
    /// The time of the last change.
    pub(crate) updated_at: Timestamp,
}

impl CodeFix {
    pub(crate) fn new(id: FixId, state: &FixState, created_at: Timestamp, updated_at: Timestamp) -> Self {
        let proposal = state.proposal.as_ref();
        let answered = proposal.map(|proposal| &proposal.spend);
        Self {
            id,
            result_id: state.finding,
            status: state.status,
            provider: answered.map(|spend| spend.provider.clone()).or_else(|| state.provider.clone()),
            model: answered.map_or_else(|| state.model.clone(), |spend| spend.model.clone()),
            fixed_code: proposal.map(|proposal| proposal.fixed_code.clone()),
            patch: proposal.map(|proposal| proposal.patch.clone()),
            explanation: proposal.map(|proposal| proposal.explanation.clone()),
            confidence: proposal.map(|proposal| proposal.confidence),
            changed_lines: proposal.map(|proposal| proposal.changed_lines),
            approved_by: state.approval.map(|approval| approval.by),
            approver: state.approval.and_then(|approval| approval.user),
            approved_at: state.approval.map(|approval| approval.at),
            commit: state.commit.clone(),
            pull_request_url: state.pull_request.as_ref().map(|request| request.url.clone()),
            error: state.failure.clone(),
            cost: (!state.cost_is_partial).then(|| Cost::from_pico(state.cost_pico)),
            created_at,
            updated_at,
        }
    }
}

/// A message on the realtime channel `fix:ID` of a tenant.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FixProgressMessage {
    pub(crate) fix: FixId,
    pub(crate) status: FixStatus,
    /// The step, such as `proposed`: the kind of the event.
    pub(crate) step: &'static str,
    /// The number of the event in the fix, counted from 1.
    pub(crate) sequence: i64,
}
