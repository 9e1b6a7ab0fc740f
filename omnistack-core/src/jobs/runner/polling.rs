//! Periodic maintenance of the worker, and its pauses while the database is unavailable.

use std::time::Duration;

use tokio::time::Instant;

use super::{Runner, stalled_leases::LeaseWatch};
use crate::{clock::Timestamp, db::Error};

/// Interval at which leases are checked; half the duration of a lease if that is shorter.
const RESCUE_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which finished jobs are deleted.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// The state of the worker's periodic maintenance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Maintenance {
    /// The moment up to which the ticks of each schedule are handled.
    crons: Vec<Timestamp>,
    looked: Option<Instant>,
    listening: LeaseWatch,
    forgot: Option<Instant>,
    next: Option<Duration>,
}

impl Maintenance {
    /// Does the maintenance that is due and returns the state for the next round.
    pub(crate) async fn run(mut self, runner: &Runner) -> Result<Self, Error> {
        let store = &runner.jobs.store;
        if self.crons.len() < runner.crons.len() {
            for cron in &runner.crons[self.crons.len()..] {
                self.crons.push(cron.begin(store).await?);
            }
        }
        // Healthy leases have two thirds of their duration left.
        let half = runner.settings.lease / 2;
        if is_due(&mut self.looked, RESCUE_INTERVAL.min(half)) {
            let silent = self.listening.note(store.stalled_leases(half).await?, half);
            let rescued = if silent.is_empty() { 0 } else { runner.rescue(&silent).await? };
            if rescued > 0 {
                tracing::warn!(target: "omnistack::jobs", jobs = rescued,
                    "taken over from workers that stopped responding");
            }
        }
        store.promote().await?;
        for (cron, since) in runner.crons.iter().zip(&mut self.crons) {
            *since = cron.tick(&runner.jobs, *since).await?;
        }
        self.next = store.next_due().await?;
        if is_due(&mut self.forgot, PURGE_INTERVAL) {
            store.purge(runner.settings.keep_done, runner.settings.keep_dead).await?;
        }
        let now = store.clock.now();
        for (cron, since) in runner.crons.iter().zip(&self.crons) {
            let tick = cron.after((*since).max(now)).map(|tick| tick.duration_since(now));
            self.next = [self.next, tick].into_iter().flatten().min();
        }
        Ok(self)
    }

    /// Returns the time until the next round.
    pub(crate) fn wait(&self, poll: Duration) -> Duration {
        self.next.map_or(poll, |next| next.clamp(Duration::from_millis(1), poll))
    }
}

pub(crate) fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let now = Instant::now();
    let due = last.is_none_or(|last| now.duration_since(last) >= every);
    if due {
        *last = Some(now);
    }
    due
}

/// An outage of the database. It is reported once, and retried after pauses that grow to ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    pauses: u32,
    until: Option<Instant>,
}

impl Outage {
    /// Records a failure. Returns whether it is the first one of the outage.
    pub(crate) fn record_failure(&mut self) -> bool {
        let news = self.pauses == 0;
        let pause = Duration::from_millis(250) * 2_u32.pow(self.pauses.min(6));
        self.pauses += 1;
        self.until = Some(Instant::now() + pause.min(Duration::from_secs(10)));
        news
    }

    /// Records a success. Returns whether it ends an outage.
    pub(crate) fn record_success(&mut self) -> bool {
        std::mem::take(self).pauses > 0
    }

    /// Returns whether the current pause continues.
    pub(crate) fn is_paused(&self) -> bool {
        self.until.is_some_and(|until| until > Instant::now())
    }

    /// Waits until the current pause is over.
    pub(crate) fn pause_over(&self) -> impl Future<Output = ()> + use<> {
        let until = self.until;
        async move {
            if let Some(until) = until {
                tokio::time::sleep_until(until).await;
            }
        }
    }
}
