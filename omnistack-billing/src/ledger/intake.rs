//! The intake: events that are reported at the same time are stored in one transaction, which waits for the disk once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use omnistack_core::{db, http::Error, metrics::USAGE_INGEST_DURATION};
use tokio::sync::oneshot;

use super::{
    Ledger,
    event::{EventPolicy, NewUsage, UsageOutcome},
};

/// Number of events from which on a transaction takes no further reports.
const BATCH_EVENTS: usize = 1_000;
/// Number of transactions at once: one is prepared while another waits for the disk.
const MAX_TRANSACTIONS: usize = 2;
/// Largest number of events that wait to be stored.
const MAX_WAITING_EVENTS: usize = 100_000;

/// A report that waits to be stored.
struct WaitingReport {
    events: Vec<NewUsage>,
    stored: oneshot::Sender<Result<Vec<UsageOutcome>, Error>>,
}

#[derive(Default)]
struct IntakeQueue {
    waiting: VecDeque<WaitingReport>,
    /// Number of events in `waiting`.
    events: usize,
    /// Number of tasks that store reports.
    tasks: usize,
}

/// Stores reports in batches. Nothing waits for a batch to fill: a report that arrives alone is stored at once.
#[derive(Clone, Default)]
pub(super) struct Intake(Arc<Mutex<IntakeQueue>>);

impl Intake {
    /// Stores the events of a report.
    pub(super) async fn ingest(&self, ledger: &Ledger, events: Vec<NewUsage>) -> Result<Vec<UsageOutcome>, Error> {
        let (stored, outcomes) = oneshot::channel();
        let starts = {
            let mut queue = self.queue();
            if queue.events + events.len() > MAX_WAITING_EVENTS {
                let message = "too many usage events wait to be stored: send these again later";
                return Err(Error::unavailable("USAGE_OVERLOADED", message));
            }
            queue.events += events.len();
            queue.waiting.push_back(WaitingReport { events, stored });
            let starts = queue.tasks < MAX_TRANSACTIONS;
            queue.tasks += usize::from(starts);
            starts
        };
        if starts {
            // A task of its own, so that a client that disconnects does not end the transaction of others.
            tokio::spawn(self.clone().run(ledger.clone()));
        }
        outcomes.await.unwrap_or_else(|_| Err(Error::internal("the task that stores usage events has ended")))
    }

    /// Stores what waits, until nothing does.
    async fn run(self, ledger: Ledger) {
        let mut panic_guard = TaskGuard(Some(&self));
        loop {
            let batch = {
                let mut queue = self.queue();
                let batch = queue.take_batch();
                if batch.is_empty() {
                    // With the lock held, so that a report that comes now starts a task.
                    queue.tasks -= 1;
                    panic_guard.0 = None;
                    return;
                }
                batch
            };
            store(&ledger, batch).await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, IntakeQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IntakeQueue {
    fn take_batch(&mut self) -> Vec<WaitingReport> {
        let mut batch = Vec::new();
        let mut count = 0;
        while count < BATCH_EVENTS
            && let Some(report) = self.waiting.pop_front()
        {
            count += report.events.len();
            batch.push(report);
        }
        self.events -= count;
        batch
    }
}

/// Counts the end of a task that panics.
struct TaskGuard<'a>(Option<&'a Intake>);

impl Drop for TaskGuard<'_> {
    fn drop(&mut self) {
        if let Some(intake) = self.0 {
            intake.queue().tasks -= 1;
        }
    }
}

/// Stores reports. If that fails, and the database is there, stores each by itself, so that one does not keep the
/// others out.
async fn store(ledger: &Ledger, batch: Vec<WaitingReport>) {
    let all: Vec<NewUsage> = batch.iter().flat_map(|report| report.events.iter().cloned()).collect();
    match store_events(ledger, all).await {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            for WaitingReport { events, stored } in batch {
                _ = stored.send(Ok(outcomes.by_ref().take(events.len()).collect()));
            }
        }
        // Without the database, each by itself would wait as long.
        Err(error) if batch.len() == 1 || error.kind() == db::ErrorKind::Unavailable => {
            let error = Arc::new(error);
            for WaitingReport { stored, .. } in batch {
                _ = stored.send(Err(Arc::clone(&error).into()));
            }
        }
        Err(_) => {
            for WaitingReport { events, stored } in batch {
                _ = stored.send(store_events(ledger, events).await.map_err(Into::into));
            }
        }
    }
}

/// Stores events in a transaction of their own.
async fn store_events(ledger: &Ledger, events: Vec<NewUsage>) -> Result<Vec<UsageOutcome>, db::Error> {
    let began = ledger.0.clock.elapsed();
    // The events of one transaction can be of several tenants.
    let mut tx = ledger.0.db.all_tenants().begin().await?;
    let outcomes = ledger.record(&mut tx, events, EventPolicy::Report).await?;
    tx.commit().await?;
    USAGE_INGEST_DURATION.histogram([""; 0]).record(ledger.0.clock.elapsed().saturating_sub(began).as_secs_f64());
    Ok(outcomes)
}
