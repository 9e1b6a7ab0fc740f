//! Calls whose process has ended: they are settled as lost, which gives back what they had reserved.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use omnistack_core::{
    http::Error,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{
    call::CallStatus,
    handle::Accounting,
    operation::CallSettlement,
    period::first_id,
    store::{self, ExpiredCall},
};
use crate::{catalog::Cost, chat::TokenUsage};

/// Number of calls that are read, or deleted, at once.
const BATCH: i64 = 500;
/// The time for which what is used of a budget is kept after its period has begun, except for all time.
const USES_RETENTION: Duration = Duration::from_secs(62 * 86_400);

impl Accounting {
    /// Settles open calls that have expired as lost: their input counts. Returns their number. A job does this every
    /// minute.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    pub async fn settle_expired(&self) -> Result<u64, Error> {
        let mut count = 0;
        loop {
            // The calls are those of all tenants.
            let mut tx = self.db().all_tenants().begin_read().await?;
            let expired = store::expired_calls(&mut tx, self.clock().now(), BATCH).await?;
            tx.commit().await?;
            let found = i64::try_from(expired.len()).unwrap_or(BATCH);
            count += expired.len();
            let settled = join_all(expired.into_iter().map(|call| self.settle(self.lost(&call)))).await;
            settled.into_iter().collect::<Result<(), _>>()?;
            if found < BATCH {
                return Ok(u64::try_from(count).unwrap_or(u64::MAX));
            }
        }
    }

    /// Returns the settlement of a call whose process has ended. The model that it has asked is not known, so the input
    /// costs its share of what was reserved.
    fn lost(&self, call: &ExpiredCall) -> CallSettlement {
        let at = self.clock().now();
        let input = u64::try_from(call.reserved_input).unwrap_or(0);
        let cost = call.reserved_pico.map(|pico| share_of_input(pico, call.reserved_input, call.reserved_output));
        CallSettlement {
            id: call.id,
            caller: call.caller(),
            asked_model: call.asked_model.clone(),
            variant: None,
            started_at: call.started_at,
            status: CallStatus::Lost,
            provider: None,
            model: None,
            usage: TokenUsage { input, ..TokenUsage::default() },
            is_estimated: true,
            cost,
            is_cached: false,
            attempts: Vec::new(),
            error: None,
            first_byte: None,
            duration: at.duration_since(call.started_at),
            at,
        }
    }

    /// Deletes calls and what was used of budgets, once their retention has ended. Returns the number of calls.
    async fn purge(&self) -> Result<u64, Error> {
        let now = self.clock().now();
        let calls = "delete from omni_ai_calls where id in (
            select id from omni_ai_calls where id < $1 and status <> 'open' order by id limit $2)";
        let mut all = 0;
        loop {
            // The calls are those of all tenants.
            let mut tx = self.db().all_tenants().begin().await?;
            let before = first_id(now - self.settings().calls_retention);
            let deleted = tx.query(calls).bind(before).bind(BATCH).execute().await?;
            tx.commit().await?;
            all += deleted;
            if deleted < BATCH.unsigned_abs() {
                break;
            }
        }
        let mut tx = self.db().all_tenants().begin().await?;
        let uses = "delete from omni_ai_budget_uses where period in ('day', 'month') and period_start < $1
            and reserved_requests = 0";
        tx.query(uses).bind(now - USES_RETENTION).execute().await?;
        tx.commit().await?;
        Ok(all)
    }
}

/// Returns the share of the input in what a call has reserved.
fn share_of_input(pico: i64, input: i64, output: i64) -> Cost {
    let all = (i128::from(input) + i128::from(output)).max(1);
    let share = i128::from(pico) * i128::from(input) / all;
    Cost::from_pico(i64::try_from(share).unwrap_or(pico))
}

/// The job that settles calls whose process has ended. It runs every minute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SettleExpiredCalls {}

#[async_trait]
impl Job for SettleExpiredCalls {
    const NAME: &'static str = "ai.settle_expired_calls";

    type State = Accounting;

    async fn run(self, accounting: &Accounting, _: &JobContext) -> Result<(), JobError> {
        let lost = accounting.settle_expired().await?;
        if lost > 0 {
            tracing::warn!(target: "omnistack::ai", lost, "calls to models were lost with their processes");
        }
        Ok(())
    }
}

/// The job that deletes calls whose retention has ended. It runs every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PurgeCalls {}

#[async_trait]
impl Job for PurgeCalls {
    const NAME: &'static str = "ai.purge_calls";

    type State = Accounting;

    async fn run(self, accounting: &Accounting, _: &JobContext) -> Result<(), JobError> {
        let deleted = accounting.purge().await?;
        tracing::debug!(target: "omnistack::ai", deleted, "old calls were deleted");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_costs_its_share() {
        for (pico, input, output, expected) in
            [(100, 1, 3, 25), (100, 0, 3, 0), (100, 5, 0, 100), (100, 0, 0, 0), (i64::MAX, i64::MAX, 0, i64::MAX)]
        {
            assert_eq!(share_of_input(pico, input, output).pico(), expected, "{pico} {input} {output}");
        }
    }
}
