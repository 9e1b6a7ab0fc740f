//! The intake: events that are reported at the same time are stored in one transaction, which waits for the disk once.

use std::sync::Arc;

use omnistack_core::{
    db::{self, GroupCommit, GroupCommitError, Submission},
    http::Error,
    metrics::USAGE_INGEST_DURATION,
};

use super::{
    Ledger,
    event::{EventPolicy, NewUsage, UsageOutcome},
};
use crate::account::schedule::AccountLock;

/// Number of events from which on a transaction takes no further reports.
const BATCH_EVENTS: usize = 1_000;
/// Largest number of events that wait to be stored.
const MAX_WAITING_EVENTS: usize = 100_000;

/// The results of a report's events, in the same order.
type ReportResult = Result<Vec<UsageOutcome>, Error>;

/// The intake of reports, which stores them in batches.
pub(super) struct Intake(GroupCommit<Vec<NewUsage>, ReportResult>);

impl Default for Intake {
    fn default() -> Self {
        Self(GroupCommit::new(BATCH_EVENTS).max_waiting(MAX_WAITING_EVENTS))
    }
}

impl Intake {
    /// Stores the events of a report.
    pub(super) async fn ingest(&self, ledger: &Ledger, events: Vec<NewUsage>) -> ReportResult {
        let (weight, ledger) = (events.len(), ledger.clone());
        let store = move |batch| store(ledger.clone(), batch);
        self.0.submit(events, weight, store).await.unwrap_or_else(|error| match error {
            GroupCommitError::Full => {
                let message = "too many usage events wait to be stored: send these again later";
                Err(Error::unavailable("USAGE_OVERLOADED", message))
            }
            error => Err(Error::internal(error)),
        })
    }
}

/// Stores reports. If that fails, and the database is there, stores each by itself, so that one does not keep the
/// others out.
async fn store(ledger: Ledger, batch: Vec<Submission<Vec<NewUsage>, ReportResult>>) {
    let all = batch.iter().flat_map(|report| &report.item).collect();
    match store_events(&ledger, all).await {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            for report in batch {
                let own = outcomes.by_ref().take(report.item.len()).collect();
                report.answer(Ok(own));
            }
        }
        // Without the database, each by itself would wait as long.
        Err(error) if batch.len() == 1 || error.kind() == db::ErrorKind::Unavailable => {
            let error = Arc::new(error);
            for report in batch {
                report.answer(Err(Arc::clone(&error).into()));
            }
        }
        Err(_) => {
            for report in batch {
                let stored = store_events(&ledger, report.item.iter().collect()).await;
                report.answer(stored.map_err(Into::into));
            }
        }
    }
}

/// Stores events in a transaction of their own.
async fn store_events(ledger: &Ledger, events: Vec<&NewUsage>) -> Result<Vec<UsageOutcome>, db::Error> {
    let began = ledger.0.clock.elapsed();
    let checked = ledger.check(events, EventPolicy::Report);
    // The events of one transaction can be of several tenants.
    let mut tx = ledger.0.db.all_tenants().begin().await?;
    let outcomes = ledger.record(&mut tx, checked, AccountLock::Shared).await?;
    tx.commit().await?;
    USAGE_INGEST_DURATION.histogram([""; 0]).record(ledger.0.clock.elapsed().saturating_sub(began).as_secs_f64());
    Ok(outcomes)
}
