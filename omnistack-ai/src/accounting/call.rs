//! A call at its start and at its end.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{call::AiCaller, catalog::Cost, chat::TokenUsage};

/// Number of bytes of text that count as a token where the provider does not say the tokens.
const BYTES_PER_TOKEN: u64 = 4;

/// The status of a call in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallStatus {
    /// The call has not ended.
    Open,
    /// The call has an answer.
    Succeeded,
    /// The call has no answer.
    Failed,
    /// The answer ended before it was complete.
    Interrupted,
    /// The caller has left.
    Cancelled,
    /// The process has ended during the call, and the input is counted.
    Lost,
}

impl CallStatus {
    /// Returns the name, as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// Returns whether the call counts as a request. One without an answer does if a model has worked for it.
    pub(crate) const fn counts_as_request(self, tokens: u64) -> bool {
        match self {
            Self::Failed | Self::Cancelled => tokens > 0,
            Self::Open | Self::Succeeded | Self::Interrupted | Self::Lost => true,
        }
    }
}

/// A call that begins.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallStart {
    /// The caller that the call is counted for.
    pub caller: AiCaller,
    /// The name of the model that the caller asks for.
    pub asked_model: String,
    /// The estimated number of tokens of the input.
    pub estimated_input: u64,
    /// The number of tokens that are reserved for the output: the maximum of the request, or that of the model.
    pub reserved_output: u64,
    /// The number of tokens that are reserved for a second turn, in case that the answer does not match the schema of
    /// the request.
    pub reserved_repair: u64,
    /// The largest cost of the call. `None` if the price is not known.
    pub reserved_cost: Option<Cost>,
    /// The prompt version.
    pub prompt: Option<String>,
    /// The route and the variant of an experiment, such as `support@new`.
    pub variant: Option<String>,
    /// A label under which the app finds the usage.
    pub purpose: Option<&'static str>,
    /// The time limit of the whole call. A call that is open a minute longer is lost.
    pub total_timeout: Duration,
}

impl CallStart {
    /// Creates a call that reserves nothing, with a time limit of ten minutes.
    pub fn new(caller: AiCaller, asked_model: impl Into<String>) -> Self {
        Self {
            caller,
            asked_model: asked_model.into(),
            estimated_input: 0,
            reserved_output: 0,
            reserved_repair: 0,
            reserved_cost: None,
            prompt: None,
            variant: None,
            purpose: None,
            total_timeout: Duration::from_secs(600),
        }
    }

    /// Sets what is reserved: the tokens of the input and of the output, and the cost, if the price is known.
    #[must_use]
    pub fn reserve(mut self, input: u64, output: u64, cost: Option<Cost>) -> Self {
        (self.estimated_input, self.reserved_output, self.reserved_cost) = (input, output, cost);
        self
    }
}

/// The end of a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallOutcome {
    /// The status.
    pub status: CallStatus,
    /// The provider that answered. Empty if none was asked.
    pub provider: String,
    /// The model that answered. Empty if none was asked.
    pub model: String,
    /// The tokens of all attempts. `None` if the provider has not said them: they are estimated then.
    pub usage: Option<TokenUsage>,
    /// Whether a part of `usage` is an estimate of the caller, because a provider has not said it.
    pub is_estimated: bool,
    /// The service tier that answered.
    pub service_tier: Option<String>,
    /// The cost. `None` if it is not known to the caller: then the catalogue is asked.
    pub cost: Option<Cost>,
    /// Whether the answer is from the cache. It has no tokens and costs nothing then.
    pub cached: bool,
    /// The name of the kind of the error.
    pub error: Option<Cow<'static, str>>,
    /// The time from the start of the call to the first byte of the answer.
    pub first_byte: Option<Duration>,
}

impl CallOutcome {
    /// Creates an outcome without tokens.
    pub fn new(status: CallStatus, provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            status,
            provider: provider.into(),
            model: model.into(),
            usage: None,
            is_estimated: false,
            service_tier: None,
            cost: None,
            cached: false,
            error: None,
            first_byte: None,
        }
    }

    /// Sets the tokens.
    #[must_use]
    pub fn usage(mut self, usage: TokenUsage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Sets the cost.
    #[must_use]
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = Some(cost);
        self
    }

    /// Returns the outcome as an end: a call that has ended is not open, which would give back its reservation twice,
    /// and costs nothing or more.
    pub(super) fn at_end(mut self) -> Self {
        if self.status == CallStatus::Open {
            self.status = CallStatus::Cancelled;
        }
        self.cost = self.cost.map(|cost| cost.max(Cost::ZERO));
        self
    }
}

/// The facts about the tokens of a call at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownTokens {
    /// The tokens that the provider has counted, if it has said them.
    pub(crate) said: Option<TokenUsage>,
    /// Whether a provider was asked.
    pub(crate) was_asked: bool,
    /// The size of the output that has arrived.
    pub(crate) output_bytes: u64,
    pub(crate) estimated_input: u64,
    pub(crate) reserved_output: u64,
}

impl KnownTokens {
    /// Returns the tokens that count, and whether they are estimated.
    ///
    /// The numbers of the provider count. They are only a lower limit of the output of a call that has not ended by
    /// itself, because providers say the output last. An estimate is never larger than what was reserved.
    pub(crate) fn counted(&self, status: CallStatus) -> (TokenUsage, bool) {
        let estimated_output = self.output_bytes.div_ceil(BYTES_PER_TOKEN).min(self.reserved_output);
        let has_no_answer = status == CallStatus::Failed && self.output_bytes == 0;
        match self.said {
            Some(said) if status == CallStatus::Succeeded || said.output >= estimated_output => (said, false),
            Some(said) => (TokenUsage { output: estimated_output, ..said }, true),
            None if !self.was_asked || has_no_answer => (TokenUsage::default(), false),
            None => {
                let input = self.estimated_input;
                (TokenUsage { input, output: estimated_output, ..TokenUsage::default() }, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_is_believed_and_the_rest_is_estimated() {
        let said = |input, output| Some(TokenUsage { input, output, ..TokenUsage::default() });
        for (status, said, was_asked, output_bytes, expected) in [
            (CallStatus::Succeeded, said(10, 20), true, 400, (10, 20, false)),
            // More than was reserved: the provider bills it.
            (CallStatus::Succeeded, said(10, 5_000), true, 400, (10, 5_000, false)),
            (CallStatus::Succeeded, None, true, 401, (7, 101, true)),
            (CallStatus::Succeeded, None, true, 1_000_000, (7, 200, true)),
            (CallStatus::Failed, None, true, 0, (0, 0, false)),
            (CallStatus::Failed, said(10, 0), true, 0, (10, 0, false)),
            (CallStatus::Cancelled, None, false, 0, (0, 0, false)),
            (CallStatus::Cancelled, None, true, 0, (7, 0, true)),
            (CallStatus::Cancelled, None, true, 24, (7, 6, true)),
            // The provider said the input at the start, and a placeholder for the output.
            (CallStatus::Interrupted, said(10, 1), true, 24, (10, 6, true)),
            (CallStatus::Interrupted, said(10, 9), true, 24, (10, 9, false)),
        ] {
            let known = KnownTokens { said, was_asked, output_bytes, estimated_input: 7, reserved_output: 200 };
            let (usage, is_estimated) = known.counted(status);
            assert_eq!((usage.input, usage.output, is_estimated), expected, "{status:?} {known:?}");
        }
    }
}
