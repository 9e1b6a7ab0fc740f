//! The states of a fix and the events that lead from one to the next. No I/O.

use std::fmt;

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    identity::{ApiKeyId, UserId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::model::FixFindingId;

/// The status of a fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FixStatus {
    /// The fix waits for its job.
    Queued,
    /// A model is asked.
    Generating,
    /// A patch that applies and keeps to the policy waits for approval.
    Proposed,
    /// The patch is approved.
    Approved,
    /// The patch is being written to the branch.
    Applying,
    /// The patch is applied.
    Applied,
    /// A pull request is being opened.
    OpeningPullRequest,
    /// The pull request is open.
    PullRequestOpen,
    /// There is no fix. Generate another one.
    Failed,
}

impl FixStatus {
    /// Returns the name, such as `queued`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Generating => "generating",
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::OpeningPullRequest => "opening_pull_request",
            Self::PullRequestOpen => "pull_request_open",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for FixStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The place to which an approved patch is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliveryTarget {
    /// The branch of the finding.
    Branch,
    /// A pull request.
    PullRequest,
}

/// The account of a call of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModelSpend {
    /// The id of the call in the ledger of the gateway.
    pub(crate) call: String,
    pub(crate) provider: String,
    pub(crate) model: String,
    /// The cost in millionths of a millionth of a USD. `None` if the price of the model is not known.
    pub(crate) cost_pico: Option<i64>,
}

/// A patch that applies and keeps to the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FixProposal {
    pub(crate) patch: String,
    /// The whole file after the patch.
    pub(crate) fixed_code: String,
    pub(crate) explanation: String,
    /// Percent, as the model states it.
    pub(crate) confidence: u8,
    pub(crate) changed_lines: u32,
    pub(crate) patch_hash: Sha256,
    /// The hash of the file before the patch.
    pub(crate) base_hash: Sha256,
    pub(crate) fixed_hash: Sha256,
    pub(crate) spend: ModelSpend,
}

/// The approver of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FixApprover {
    /// A user.
    Person,
    /// The rule in the settings of the app.
    Rule,
}

/// The approval of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FixApproval {
    pub(crate) by: FixApprover,
    pub(crate) user: Option<UserId>,
    pub(crate) at: Timestamp,
    pub(crate) patch_hash: Sha256,
}

/// The reason why a fix or its delivery has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct FixFailure {
    /// The code, such as `FIX_REJECTED`.
    pub(crate) code: String,
    /// A description.
    pub(crate) message: String,
}

/// An event in the run of a fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum FixEvent {
    Queued {
        finding: FixFindingId,
        provider: Option<String>,
        model: String,
        api_key: Option<ApiKeyId>,
    },
    /// An attempt of the job has begun.
    Started {
        attempt: u32,
    },
    /// An answer of the model is no usable patch.
    CandidateRejected {
        reason: String,
        spend: ModelSpend,
    },
    Proposed {
        proposal: Box<FixProposal>,
    },
    Failed {
        failure: FixFailure,
    },
    Approved {
        by: FixApprover,
        patch_hash: Sha256,
    },
    DeliveryRequested {
        target: DeliveryTarget,
    },
    /// The patch is applied, by this commit, or outside the app.
    Applied {
        commit: Option<String>,
    },
    PullRequestOpened {
        number: u64,
        url: String,
        branch: String,
    },
    /// The patch could not be delivered. If this is final, the file has changed since.
    DeliveryFailed {
        failure: FixFailure,
        is_final: bool,
    },
}

/// The state of a fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FixState {
    pub(crate) status: FixStatus,
    pub(crate) finding: FixFindingId,
    /// The only provider to ask.
    pub(crate) provider: Option<String>,
    /// The model or route to ask.
    pub(crate) model: String,
    pub(crate) requested_by: Option<UserId>,
    pub(crate) api_key: Option<ApiKeyId>,
    pub(crate) attempts: u32,
    /// The cost of all calls whose price is known.
    pub(crate) cost_pico: i64,
    /// Whether the price of a call is not known.
    pub(crate) cost_is_partial: bool,
    pub(crate) proposal: Option<FixProposal>,
    pub(crate) approval: Option<FixApproval>,
    pub(crate) commit: Option<String>,
    pub(crate) pull_request: Option<PullRequestRef>,
    pub(crate) failure: Option<FixFailure>,
}

/// A pull request with the patch of a fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PullRequestRef {
    pub(crate) number: u64,
    pub(crate) url: String,
    pub(crate) branch: String,
}

/// The error of an event that the state of a fix does not permit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event is not permitted in the state `{}`", .0.map_or("new", FixStatus::as_str))]
pub(crate) struct ForbiddenTransition(pub(crate) Option<FixStatus>);

impl FixState {
    /// Returns the state after an event.
    ///
    /// # Errors
    /// [`ForbiddenTransition`] if the state does not permit the event. In particular, a patch is only delivered after
    /// the approval of exactly this patch.
    pub(crate) fn after(
        state: Option<Self>,
        event: &FixEvent,
        actor: Option<UserId>,
        at: Timestamp,
    ) -> Result<Self, ForbiddenTransition> {
        use FixStatus as S;
        let Some(mut state) = state else { return Self::first(event, actor) };
        let forbidden = ForbiddenTransition(Some(state.status));
        state.status = match (state.status, event) {
            (S::Queued | S::Generating, FixEvent::Started { .. }) => {
                state.attempts = state.attempts.saturating_add(1);
                S::Generating
            }
            (S::Generating, FixEvent::CandidateRejected { spend, .. }) => {
                state.spend(spend);
                S::Generating
            }
            (S::Generating, FixEvent::Proposed { proposal }) => {
                state.spend(&proposal.spend);
                state.proposal = Some(FixProposal::clone(proposal));
                S::Proposed
            }
            (S::Queued | S::Generating, FixEvent::Failed { failure }) => {
                state.failure = Some(failure.clone());
                S::Failed
            }
            (S::Proposed, FixEvent::Approved { by, patch_hash }) => {
                if state.proposal.as_ref().is_none_or(|proposal| proposal.patch_hash != *patch_hash) {
                    return Err(forbidden);
                }
                state.approval = Some(FixApproval { by: *by, user: actor, at, patch_hash: *patch_hash });
                S::Approved
            }
            (S::Approved, FixEvent::DeliveryRequested { target }) => {
                state.failure = None;
                match target {
                    DeliveryTarget::Branch => S::Applying,
                    DeliveryTarget::PullRequest => S::OpeningPullRequest,
                }
            }
            (S::Applying, FixEvent::Applied { commit }) => {
                state.commit.clone_from(commit);
                S::Applied
            }
            (S::OpeningPullRequest, FixEvent::PullRequestOpened { number, url, branch }) => {
                let (url, branch) = (url.clone(), branch.clone());
                state.pull_request = Some(PullRequestRef { number: *number, url, branch });
                S::PullRequestOpen
            }
            (S::Applying | S::OpeningPullRequest, FixEvent::DeliveryFailed { failure, is_final }) => {
                state.failure = Some(failure.clone());
                if *is_final { S::Failed } else { S::Approved }
            }
            _ => return Err(forbidden),
        };
        Ok(state)
    }

    fn first(event: &FixEvent, actor: Option<UserId>) -> Result<Self, ForbiddenTransition> {
        let FixEvent::Queued { finding, provider, model, api_key } = event else {
            return Err(ForbiddenTransition(None));
        };
        Ok(Self {
            status: FixStatus::Queued,
            finding: *finding,
            provider: provider.clone(),
            model: model.clone(),
            requested_by: actor,
            api_key: *api_key,
            attempts: 0,
            cost_pico: 0,
            cost_is_partial: false,
            proposal: None,
            approval: None,
            commit: None,
            pull_request: None,
            failure: None,
        })
    }

    fn spend(&mut self, spend: &ModelSpend) {
        match spend.cost_pico {
            Some(cost) => self.cost_pico = self.cost_pico.saturating_add(cost),
            None => self.cost_is_partial = true,
        }
    }

    /// Returns the proposal if exactly this patch is approved.
    pub(crate) fn approved_proposal(&self) -> Option<&FixProposal> {
        let (proposal, approval) = (self.proposal.as_ref()?, self.approval.as_ref()?);
        let is_approved = proposal.patch_hash == approval.patch_hash
            && proposal.patch_hash.matches(&proposal.patch)
            && proposal.fixed_hash.matches(&proposal.fixed_code);
        is_approved.then_some(proposal)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use omnistack_core::id::Id;
    use uuid::Uuid;

    use super::*;

    pub(in crate::fix) fn proposal() -> FixProposal {
        let (patch, fixed) = ("@@ -1 +1 @@\n-a\n+b\n", "b\n");
        FixProposal {
            patch: patch.into(),
            fixed_code: fixed.into(),
            explanation: "It is b.".into(),
            confidence: 90,
            changed_lines: 2,
            patch_hash: Sha256::digest(patch),
            base_hash: Sha256::digest("a\n"),
            fixed_hash: Sha256::digest(fixed),
            spend: spend(Some(7)),
        }
    }

    pub(in crate::fix) fn spend(cost_pico: Option<i64>) -> ModelSpend {
        ModelSpend { call: "1".into(), provider: "fake".into(), model: "fake-small".into(), cost_pico }
    }

    pub(in crate::fix) fn failure() -> FixFailure {
        FixFailure { code: "FIX_REJECTED".into(), message: "no".into() }
    }

    /// Returns one event of each kind.
    pub(in crate::fix) fn events() -> Vec<FixEvent> {
        let queued = FixEvent::Queued {
            finding: Id::from_uuid(Uuid::nil()),
            provider: None,
            model: "smart".into(),
            api_key: None,
        };
        vec![
            queued,
            FixEvent::Started { attempt: 1 },
            FixEvent::CandidateRejected { reason: "no".into(), spend: spend(Some(3)) },
            FixEvent::Proposed { proposal: Box::new(proposal()) },
            FixEvent::Failed { failure: failure() },
            FixEvent::Approved { by: FixApprover::Rule, patch_hash: proposal().patch_hash },
            FixEvent::DeliveryRequested { target: DeliveryTarget::Branch },
            FixEvent::DeliveryRequested { target: DeliveryTarget::PullRequest },
            FixEvent::Applied { commit: None },
            FixEvent::PullRequestOpened { number: 1, url: "https://x.example/1".into(), branch: "b".into() },
            FixEvent::DeliveryFailed { failure: failure(), is_final: false },
            FixEvent::DeliveryFailed { failure: failure(), is_final: true },
        ]
    }

    fn state_at(status: FixStatus) -> FixState {
        let first = FixState::after(None, &events()[0], None, Timestamp::default()).unwrap();
        FixState { status, proposal: Some(proposal()), ..first }
    }

    #[test]
    fn each_state_permits_its_events() {
        use FixStatus as S;
        let permitted = |status, name: &str| -> Option<FixStatus> {
            let next = match (status, name) {
                (S::Queued | S::Generating, "started") | (S::Generating, "candidate_rejected") => S::Generating,
                (S::Generating, "proposed") => S::Proposed,
                (S::Queued | S::Generating, "failed") => S::Failed,
                (S::Proposed, "approved") => S::Approved,
                (S::Approved, "delivery_requested branch") => S::Applying,
                (S::Approved, "delivery_requested pull_request") => S::OpeningPullRequest,
                (S::Applying, "applied") => S::Applied,
                (S::OpeningPullRequest, "pull_request_opened") => S::PullRequestOpen,
                (S::Applying | S::OpeningPullRequest, "delivery_failed false") => S::Approved,
                (S::Applying | S::OpeningPullRequest, "delivery_failed true") => S::Failed,
                _ => return None,
            };
            Some(next)
        };
        let all = [
            S::Queued,
            S::Generating,
            S::Proposed,
            S::Approved,
            S::Applying,
            S::Applied,
            S::OpeningPullRequest,
            S::PullRequestOpen,
            S::Failed,
        ];
        for status in all {
            for event in events() {
                let json = serde_json::to_value(&event).unwrap();
                let detail =
                    json["target"].as_str().map(str::to_owned).or(json["is_final"].as_bool().map(|is| is.to_string()));
                let name = [json["kind"].as_str().unwrap().to_owned(), detail.unwrap_or_default()].join(" ");
                let next = FixState::after(Some(state_at(status)), &event, None, Timestamp::default());
                assert_eq!(next.ok().map(|state| state.status), permitted(status, name.trim()), "{status} {name}");
            }
        }
    }

    #[test]
    fn only_the_proposed_patch_can_be_approved() {
        let event = FixEvent::Approved { by: FixApprover::Rule, patch_hash: Sha256::digest("another patch") };
        let next = FixState::after(Some(state_at(FixStatus::Proposed)), &event, None, Timestamp::default());
        assert_eq!(next, Err(ForbiddenTransition(Some(FixStatus::Proposed))));

        let event = FixEvent::Approved { by: FixApprover::Rule, patch_hash: proposal().patch_hash };
        let mut state =
            FixState::after(Some(state_at(FixStatus::Proposed)), &event, None, Timestamp::default()).unwrap();
        assert!(state.approved_proposal().is_some());
        if let Some(proposal) = &mut state.proposal {
            proposal.fixed_code.push_str("evil\n");
        }
        assert_eq!(state.approved_proposal(), None);
    }
}
