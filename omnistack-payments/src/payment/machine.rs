//! The states of attempts and of payments, without I/O.
//!
//! An attempt is a call that creates a payment at a provider. [`AttemptState::after`] says what becomes of it,
//! [`payment_state`] derives the state of the payment from its attempts, and [`next_attempt`] whether another attempt
//! may begin: only if it is certain that no earlier one has taken money, or will.

use std::time::Duration;

use omnistack_core::{clock::Timestamp, payment::PaymentStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The time after which a request that the provider has not answered can no longer arrive there. Each call has a
/// deadline of 15 s; the rest is for clocks and proxies.
pub(super) const SETTLE_TIME: Duration = Duration::from_secs(60);
/// Longest time between two questions about an attempt whose outcome is unknown.
const MAX_UNKNOWN_INTERVAL: Duration = Duration::from_secs(3_600);
/// Longest time between two questions about an attempt that the payer or the provider has to complete.
const MAX_OPEN_INTERVAL: Duration = Duration::from_secs(86_400);
/// The time after which a provider is no longer asked about an attempt that was never completed. Its events still
/// count.
const MAX_QUESTION_AGE: Duration = Duration::from_secs(30 * 86_400);

/// The state of an attempt to take a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// The provider is asked, and has not responded yet.
    Sent,
    /// It is not known whether the provider has taken the money. The app asks it until it is known.
    Unknown,
    /// The provider processes the payment.
    Processing,
    /// The payer must act, such as on a page of the provider.
    RequiresAction,
    /// The money is reserved.
    Authorized,
    /// The money was taken.
    Succeeded,
    /// No money was taken.
    Failed,
    /// The payment was canceled. No money was taken.
    Canceled,
}

impl AttemptState {
    /// Returns the state as it is stored and shown, such as `requires_action`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Unknown => "unknown",
            Self::Processing => "processing",
            Self::RequiresAction => "requires_action",
            Self::Authorized => "authorized",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        let all = [
            Self::Sent,
            Self::Unknown,
            Self::Processing,
            Self::RequiresAction,
            Self::Authorized,
            Self::Succeeded,
            Self::Failed,
            Self::Canceled,
        ];
        all.into_iter().find(|state| state.as_str() == text)
    }

    /// Returns the state after a fact. Facts can come late, twice and out of order: what a provider has reported of
    /// money is kept, and the report that money was taken is believed in every state.
    #[must_use]
    pub(super) const fn after(self, fact: AttemptFact) -> Self {
        use PaymentStatus as Reported;

        match (self, fact) {
            (Self::Succeeded, _) | (_, AttemptFact::Reported(Reported::Succeeded)) => Self::Succeeded,
            (Self::Sent | Self::Unknown, AttemptFact::Refused) => Self::Failed,
            (Self::Sent, AttemptFact::OutcomeUnknown) => Self::Unknown,
            (state, AttemptFact::Refused | AttemptFact::OutcomeUnknown) => state,
            (_, AttemptFact::Reported(Reported::Authorized)) => Self::Authorized,
            // Reports of an earlier state.
            (
                state @ (Self::Authorized | Self::Failed | Self::Canceled),
                AttemptFact::Reported(Reported::Processing | Reported::RequiresAction),
            ) => state,
            (Self::Failed | Self::Canceled, AttemptFact::Reported(Reported::Failed | Reported::Canceled)) => self,
            (_, AttemptFact::Reported(Reported::Processing)) => Self::Processing,
            (_, AttemptFact::Reported(Reported::RequiresAction)) => Self::RequiresAction,
            (_, AttemptFact::Reported(Reported::Failed)) => Self::Failed,
            (_, AttemptFact::Reported(Reported::Canceled)) => Self::Canceled,
        }
    }

    /// Returns whether the attempt certainly takes no money.
    pub const fn is_without_effect(self) -> bool {
        matches!(self, Self::Failed | Self::Canceled)
    }

    /// Returns the order in which the attempts of a payment stand for it, the best first.
    const fn rank(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Authorized => 1,
            Self::RequiresAction => 2,
            Self::Processing => 3,
            Self::Sent => 4,
            Self::Unknown => 5,
            Self::Failed | Self::Canceled => 6,
        }
    }

    /// Returns when the provider is asked about the attempt, after `checks` earlier questions. Returns `None` if its
    /// events are enough. `has_change` says whether a capture or a cancellation has no result yet.
    pub(super) fn next_check(
        self,
        has_change: bool,
        checks: i32,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let doubled = |first: Duration, most: Duration| {
            let factor = 1_u32 << u32::try_from(checks).unwrap_or(0).min(10);
            now + first.saturating_mul(factor).min(most)
        };
        match self {
            Self::Sent => Some(started_at.max(now) + SETTLE_TIME),
            Self::Unknown if checks == 0 => Some(now),
            Self::Unknown => Some(doubled(SETTLE_TIME, MAX_UNKNOWN_INTERVAL)),
            _ if has_change => Some(doubled(SETTLE_TIME, MAX_UNKNOWN_INTERVAL)),
            _ if now.duration_since(started_at) > MAX_QUESTION_AGE => None,
            Self::Processing => Some(doubled(SETTLE_TIME * 10, MAX_OPEN_INTERVAL)),
            Self::RequiresAction => Some(doubled(SETTLE_TIME * 30, MAX_OPEN_INTERVAL)),
            Self::Authorized => Some(now + MAX_OPEN_INTERVAL),
            Self::Succeeded | Self::Failed | Self::Canceled => None,
        }
    }
}

/// A fact about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptFact {
    /// The provider has reported the status of its payment.
    Reported(PaymentStatus),
    /// The provider has certainly not taken the money, and will not.
    Refused,
    /// The request was sent, and no conclusive response has arrived.
    OutcomeUnknown,
}

/// The state of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// A provider is asked.
    Created,
    /// The provider processes the payment; its result comes later.
    Processing,
    /// The payer must act, such as on the page `action_url`.
    RequiresAction,
    /// The money is reserved, and can be captured.
    Authorized,
    /// The money was taken.
    Succeeded,
    /// No money was taken.
    Failed,
    /// The payment was canceled. No money was taken.
    Canceled,
    /// It is not known whether a provider has taken the money. It is asked until it is known.
    Unknown,
    /// More money was taken than the amount. `refund_proposal` says what to refund.
    Overpaid,
}

impl PaymentState {
    /// Returns the state as it is stored and shown, such as `requires_action`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Processing => "processing",
            Self::RequiresAction => "requires_action",
            Self::Authorized => "authorized",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Unknown => "unknown",
            Self::Overpaid => "overpaid",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        let all = [
            Self::Created,
            Self::Processing,
            Self::RequiresAction,
            Self::Authorized,
            Self::Succeeded,
            Self::Failed,
            Self::Canceled,
            Self::Unknown,
            Self::Overpaid,
        ];
        all.into_iter().find(|state| state.as_str() == text)
    }
}

/// Returns the index of the attempt that stands for the payment: the first of those that are furthest, or the last if
/// all have failed.
pub(super) fn main_attempt(attempts: &[AttemptState]) -> Option<usize> {
    let best = attempts.iter().map(|state| state.rank()).min()?;
    if best == AttemptState::Failed.rank() {
        return Some(attempts.len() - 1);
    }
    attempts.iter().position(|state| state.rank() == best)
}

/// Returns the state of a payment, from its attempts and its money in minor units.
pub(super) fn payment_state(attempts: &[AttemptState], amount: i64, captured: i64, refunded: i64) -> PaymentState {
    if captured.saturating_sub(refunded) > amount {
        return PaymentState::Overpaid;
    }
    match main_attempt(attempts).map(|index| attempts[index]) {
        None | Some(AttemptState::Sent) => PaymentState::Created,
        Some(AttemptState::Unknown) => PaymentState::Unknown,
        Some(AttemptState::Processing) => PaymentState::Processing,
        Some(AttemptState::RequiresAction) => PaymentState::RequiresAction,
        Some(AttemptState::Authorized) => PaymentState::Authorized,
        Some(AttemptState::Succeeded) => PaymentState::Succeeded,
        Some(AttemptState::Failed) => PaymentState::Failed,
        Some(AttemptState::Canceled) => PaymentState::Canceled,
    }
}

/// Whether another attempt of a payment may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextAttempt {
    /// No earlier attempt takes money.
    Allowed,
    /// An earlier attempt may have taken money, and the caller accepts that the payer pays twice.
    Forced,
    /// An earlier attempt may have taken money.
    OutcomeUnknown,
    /// An earlier attempt has taken money, or can still.
    InProgress,
}

/// Returns whether another attempt may begin. With `force`, attempts whose outcome is unknown don't prevent it.
pub(super) fn next_attempt(attempts: &[AttemptState], force: bool) -> NextAttempt {
    let rest: Vec<_> = attempts.iter().filter(|state| !state.is_without_effect()).collect();
    if rest.is_empty() {
        return NextAttempt::Allowed;
    }
    if rest.iter().any(|state| !matches!(state, AttemptState::Unknown | AttemptState::Sent)) {
        return NextAttempt::InProgress;
    }
    // The call of an attempt that is `sent` may still run, so not even force begins another beside it.
    let is_known_to_be_unknown = rest.iter().all(|state| **state == AttemptState::Unknown);
    if force && is_known_to_be_unknown { NextAttempt::Forced } else { NextAttempt::OutcomeUnknown }
}

/// The state of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// The provider is asked, and has not responded yet.
    Sent,
    /// It is not known whether the provider has made the refund. It is asked until it is known.
    Unknown,
    /// The provider processes the refund.
    Pending,
    /// The money was sent back.
    Succeeded,
    /// The money was not sent back.
    Failed,
}

impl RefundState {
    /// Returns the state as it is stored and shown, such as `pending`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        let all = [Self::Sent, Self::Unknown, Self::Pending, Self::Succeeded, Self::Failed];
        all.into_iter().find(|state| state.as_str() == text)
    }

    /// Returns whether the money may still be sent back, so that it can't be refunded again.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Sent | Self::Unknown | Self::Pending)
    }

    /// Returns when the provider is asked about the refund, after `checks` earlier questions.
    pub(super) fn next_check(self, checks: i32, now: Timestamp) -> Option<Timestamp> {
        let factor = 1_u32 << u32::try_from(checks).unwrap_or(0).min(10);
        let after = |first: Duration| now + first.saturating_mul(factor).min(MAX_OPEN_INTERVAL);
        match self {
            Self::Sent => Some(now + SETTLE_TIME),
            Self::Unknown => Some(after(SETTLE_TIME)),
            Self::Pending => Some(after(SETTLE_TIME * 60)),
            Self::Succeeded | Self::Failed => None,
        }
    }
}

/// The state of a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisputeState {
    /// The bank of the payer decides.
    Open,
    /// The payer has the money back.
    Lost,
    /// The tenant keeps the money.
    Won,
}

impl DisputeState {
    /// Returns the state as it is stored and shown, such as `lost`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Lost => "lost",
            Self::Won => "won",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Open, Self::Lost, Self::Won].into_iter().find(|state| state.as_str() == text)
    }

    /// Returns the state that a provider reports.
    pub(super) const fn of(won: Option<bool>) -> Self {
        match won {
            None => Self::Open,
            Some(false) => Self::Lost,
            Some(true) => Self::Won,
        }
    }

    /// Returns the state after a report of the provider. Reports can come out of order, so a dispute that was decided
    /// is not open again; but one that was lost can be won later.
    pub(super) const fn after(self, reported: Self) -> Self {
        match (self, reported) {
            (decided, Self::Open) => decided,
            (_, reported) => reported,
        }
    }
}

#[cfg(test)]
mod tests;
