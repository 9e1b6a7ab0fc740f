//! A call that has not ended.

use std::{
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use omnistack_core::{clock::Timestamp, http::Error};

use super::{
    call::{CallOutcome, CallStatus, KnownTokens},
    handle::Accounting,
    operation::{CallSettlement, NewCall, stored_name, to_i64},
};
use crate::{
    call::{AiCaller, AttemptSummary, CallId, CallSummary},
    catalog::Cost,
    chat::TokenUsage,
};

/// Largest number of attempts of a call that are kept.
const MAX_KEPT_ATTEMPTS: usize = 10;

/// A call that has not ended, with its reservation. It ends with [`settle`](Self::settle). If it is dropped, also by a
/// panic, it is settled in the background as cancelled, with what was noted; if the process ends, it expires.
#[must_use = "a call that is dropped is cancelled"]
pub struct OpenCall {
    /// The id of the call in the ledger.
    pub id: CallId,
    accounting: Accounting,
    held: HeldCall,
    attempts: Vec<AttemptSummary>,
    target: Option<(String, String)>,
    progress: Mutex<CallProgress>,
    /// Whether the settlement is on its way.
    is_settled: bool,
}

/// The reservation of a call, and the caller it is for.
#[derive(Clone, Debug)]
pub(super) struct HeldCall {
    pub(super) caller: AiCaller,
    pub(super) asked_model: String,
    pub(super) started_at: Timestamp,
    /// The start by the clock's elapsed time.
    pub(super) began: Duration,
    pub(super) estimated_input: u64,
    pub(super) reserved_output: u64,
    /// The tokens of a second turn.
    pub(super) reserved_repair: u64,
    pub(super) reserved_cost: Option<Cost>,
    /// The route and the variant of an experiment.
    pub(super) variant: Option<String>,
}

/// The part of the answer that has arrived.
#[derive(Clone, Copy, Debug, Default)]
struct CallProgress {
    usage: Option<TokenUsage>,
    output_bytes: u64,
    first_byte: Option<Duration>,
}

impl HeldCall {
    /// Returns the reserved tokens besides those of the input, as they are stored.
    pub(super) fn reserved_beyond_input(&self) -> i64 {
        to_i64(self.reserved_output.saturating_add(self.reserved_repair))
    }
}

impl OpenCall {
    pub(super) fn new(accounting: &Accounting, new: &NewCall) -> Self {
        Self {
            id: new.id,
            accounting: accounting.clone(),
            held: new.held.clone(),
            attempts: Vec::new(),
            target: None,
            progress: Mutex::default(),
            is_settled: false,
        }
    }

    /// Notes an attempt that has ended. The first nine and the last one are kept.
    pub fn note_attempt(&mut self, attempt: AttemptSummary) {
        self.attempts.truncate(MAX_KEPT_ATTEMPTS - 1);
        self.attempts.push(attempt);
    }

    /// Notes the provider and the model that are asked now. From then on, a call that is dropped has used its input.
    pub fn note_target(&mut self, provider: impl Into<String>, model: impl Into<String>) {
        self.target = Some((provider.into(), model.into()));
    }

    /// Notes a piece of the answer: what the provider has said about the tokens so far, if it has, and the size of the
    /// text in this piece.
    pub fn note_progress(&self, usage: Option<TokenUsage>, output_bytes: usize) {
        let mut progress = self.progress();
        progress.usage = usage.or(progress.usage);
        let bytes = u64::try_from(output_bytes).unwrap_or(u64::MAX);
        progress.output_bytes = progress.output_bytes.saturating_add(bytes);
        if progress.first_byte.is_none() {
            progress.first_byte = Some(self.accounting.clock().elapsed().saturating_sub(self.held.began));
        }
    }

    /// Returns the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.accounting.clock().elapsed().saturating_sub(self.held.began)
    }

    /// Ends the call: the ledger, the budgets, the usage and the credits change in one transaction. If the caller is
    /// dropped meanwhile, the call is settled all the same. After an error, it is settled in the background.
    ///
    /// # Errors
    /// 503 if the database is unavailable, or too many calls wait for it.
    pub async fn settle(mut self, outcome: CallOutcome) -> Result<CallSummary, Error> {
        let settlement = self.settlement(outcome.at_end());
        let summary = settlement.summary();
        let accounting = self.accounting.clone();
        // From here on the settlement is kept by the ledger: its first poll puts it into the queue.
        self.is_settled = true;
        accounting.settle(settlement).await?;
        Ok(summary)
    }

    /// Settles in a task of its own, which goes on if the caller leaves. If the end can't be stored, it is tried again in
    /// the background, and the answer is given all the same: the provider bills it, and would bill another call too.
    /// Until then the reservation holds. An end that the database refuses expires, which counts its input.
    pub(crate) async fn settle_in_task(mut self, outcome: CallOutcome) -> CallSummary {
        let settlement = self.settlement(outcome.at_end());
        let summary = settlement.summary();
        let accounting = self.accounting.clone();
        self.is_settled = true;
        accounting.settle_in_task(settlement).await;
        summary
    }

    /// Returns what is stored about the call, and takes what was noted.
    fn settlement(&mut self, outcome: CallOutcome) -> CallSettlement {
        let given_usage = outcome.usage.filter(|_| !outcome.cached);
        let given_cost = outcome.cost.filter(|_| !outcome.cached);
        let CallOutcome { status, provider, model, service_tier, cached, error, first_byte, .. } = outcome;
        let progress = *self.progress();
        let noted = self.target.take();
        let or_noted = |given: String, noted: Option<&String>| {
            let name = if given.is_empty() { noted.map(String::as_str) } else { Some(given.as_str()) };
            name.map(stored_name)
        };
        let provider = or_noted(provider, noted.as_ref().map(|(provider, _)| provider));
        let model = or_noted(model, noted.as_ref().map(|(_, model)| model));
        let known = KnownTokens {
            said: given_usage.or(progress.usage),
            was_asked: provider.is_some(),
            output_bytes: progress.output_bytes,
            estimated_input: self.held.estimated_input,
            reserved_output: self.held.reserved_output,
        };
        let (usage, is_estimated) = if cached { (TokenUsage::default(), false) } else { known.counted(status) };
        let is_estimated = is_estimated || (given_usage.is_some() && outcome.is_estimated);
        let target = provider.as_deref().zip(model.as_deref());
        // What the caller says it costs is the cost of the tokens that the caller says.
        let is_for_these = given_usage.map_or(!is_estimated, |given| given == usage);
        let price = || {
            let (provider, model) = target?;
            self.accounting.price(provider, model, &usage, service_tier.as_deref())
        };
        let cost = if usage == TokenUsage::default() {
            Some(given_cost.unwrap_or_else(|| Cost::from_pico(0)))
        } else if is_for_these {
            given_cost.or_else(price)
        } else {
            price().or(given_cost)
        };
        let cost = cost.map(|cost| if is_estimated { self.at_most_reserved(cost) } else { cost });
        CallSettlement {
            id: self.id,
            caller: self.held.caller,
            asked_model: self.held.asked_model.clone(),
            variant: self.held.variant.clone(),
            started_at: self.held.started_at,
            status,
            provider,
            model,
            usage,
            is_estimated,
            cost,
            is_cached: cached,
            attempts: mem::take(&mut self.attempts),
            error,
            first_byte: first_byte.or(progress.first_byte),
            duration: self.elapsed(),
            at: self.accounting.clock().now(),
        }
    }

    /// Returns an estimated cost, which is never more than what was reserved.
    fn at_most_reserved(&self, cost: Cost) -> Cost {
        let most = self.held.reserved_cost.map_or(i64::MAX, Cost::pico);
        Cost::from_pico(cost.pico().min(most))
    }

    fn progress(&self) -> MutexGuard<'_, CallProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.is_settled {
            let settlement = self.settlement(CallOutcome::new(CallStatus::Cancelled, "", ""));
            self.accounting.settle_later(settlement);
        }
    }
}

impl fmt::Debug for OpenCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenCall").field("id", &self.id).field("held", &self.held).finish_non_exhaustive()
    }
}
