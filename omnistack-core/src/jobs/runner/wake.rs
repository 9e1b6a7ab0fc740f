//! What a worker does by the clock, and when it can't reach the database.

use std::time::Duration;

use tokio::time::Instant;

use super::{Runner, silent::Listening};
use crate::{clock::Timestamp, db::Error};

/// How often leases are looked at, and finished jobs forgotten.
const RESCUE: Duration = Duration::from_secs(5);
const FORGET: Duration = Duration::from_secs(60);

/// The worker's round.
#[derive(Clone, Debug, Default)]
pub(super) struct Upkeep {
    /// By cron: up to when its ticks are dealt with.
    crons: Vec<Timestamp>,
    looked: Option<Instant>,
    listening: Listening,
    forgot: Option<Instant>,
    next: Option<Duration>,
}

impl Upkeep {
    /// Does what is due; returns what is known for the next round.
    pub(super) async fn keep(mut self, runner: &Runner) -> Result<Self, Error> {
        let store = &runner.jobs.store;
        if self.crons.len() < runner.crons.len() {
            for cron in &runner.crons[self.crons.len()..] {
                self.crons.push(cron.begin(store).await?);
            }
        }
        // Healthy leases have two thirds of their time left.
        let half = runner.settings.lease / 2;
        if is_due(&mut self.looked, RESCUE.min(half)) {
            let silent = self.listening.note(store.silent(half).await?, half);
            let rescued = if silent.is_empty() { 0 } else { runner.rescue(&silent).await? };
            if rescued > 0 {
                tracing::warn!(target: "omnistack::jobs", jobs = rescued, "taken from workers that went silent");
            }
        }
        store.promote().await?;
        for (cron, since) in runner.crons.iter().zip(&mut self.crons) {
            *since = cron.tick(&runner.jobs, *since).await?;
        }
        self.next = store.next_due().await?;
        if is_due(&mut self.forgot, FORGET) {
            store.forget(runner.settings.keep_done, runner.settings.keep_dead).await?;
        }
        let now = store.clock.now();
        for (cron, since) in runner.crons.iter().zip(&self.crons) {
            let tick = cron.after((*since).max(now)).map(|tick| tick.since(now));
            self.next = [self.next, tick].into_iter().flatten().min();
        }
        Ok(self)
    }

    /// How long until the next round.
    pub(super) fn wait(&self, poll: Duration) -> Duration {
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

/// A database that can't be reached: to be said once, and asked again after pauses that grow to ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    pauses: u32,
    until: Option<Instant>,
}

impl Trouble {
    /// It could not be reached; whether that is news.
    pub(crate) fn begin(&mut self) -> bool {
        let news = self.pauses == 0;
        let pause = Duration::from_millis(250) * 2_u32.pow(self.pauses.min(6));
        self.pauses += 1;
        self.until = Some(Instant::now() + pause.min(Duration::from_secs(10)));
        news
    }

    /// It answered; whether that is news.
    pub(crate) fn end(&mut self) -> bool {
        std::mem::take(self).pauses > 0
    }

    /// Whether to leave the database alone for now.
    pub(crate) fn holds(&self) -> bool {
        self.until.is_some_and(|until| until > Instant::now())
    }

    /// Waits until it is time to ask again.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + use<> {
        let until = self.until;
        async move {
            if let Some(until) = until {
                tokio::time::sleep_until(until).await;
            }
        }
    }
}
