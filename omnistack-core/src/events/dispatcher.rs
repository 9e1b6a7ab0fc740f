//! The dispatcher: delivers due events to their subscribers.
//!
//! It looks for subscribers with due deliveries, claims as many of their lanes as it has places, and makes each
//! delivery in a separate task. When a task ends it looks again, so that the next delivery of the same key starts
//! at once.

mod attempt;
mod builder;

pub use builder::DispatcherBuilder;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout_at},
};

use super::{
    EventSettings, Events, SubscriberHandler,
    handle::Subscriptions,
    store::{ClaimedDelivery, DeliveryClaim, FailedDelivery},
};
use crate::{
    BoxError, ShutdownToken,
    db::{Error, OutboxRelay},
    error_event::ErrorReporter,
    jobs::{Outage, is_due, json, listen},
};
use attempt::attempt;

/// The channel on which the statement that publishes events announces them.
const CHANNEL: &str = "omnistack_events";

/// Interval at which finished deliveries are deleted.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// Time by which a lease exceeds the timeout of an attempt: time to start the attempt and to store its result.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// The dispatcher, which delivers an app's events to its subscribers. [`App`](crate::app::App) has one.
#[derive(Clone)]
pub struct Dispatcher {
    events: Events,
    handlers: Arc<BTreeMap<&'static str, SubscriberHandler>>,
    names: Arc<str>,
    settings: Arc<EventSettings>,
    relay: Option<OutboxRelay>,
    reporter: Option<ErrorReporter>,
}

impl Dispatcher {
    pub(crate) fn new(events: Events, handlers: Vec<SubscriberHandler>, settings: EventSettings) -> Self {
        let mut subscriptions = Subscriptions::new();
        for handler in &handlers {
            subscriptions.entry(handler.event).or_default().push(handler.name);
        }
        events.set_subscriptions(subscriptions);
        let handlers: BTreeMap<_, _> = handlers.into_iter().map(|handler| (handler.name, handler)).collect();
        let names = json(&handlers.keys().collect::<Vec<_>>()).into();
        Self { events, handlers: Arc::new(handlers), names, settings: Arc::new(settings), relay: None, reporter: None }
    }

    /// Sets the relay that moves events from tenant databases to the app's database.
    pub(crate) fn relayed_by(mut self, relay: Option<OutboxRelay>) -> Self {
        self.relay = relay;
        self
    }

    /// Sets the reporter of errors.
    pub(crate) fn reporting_to(mut self, reporter: Option<ErrorReporter>) -> Self {
        self.reporter = reporter;
        self
    }

    /// Delivers events until shutdown. Then running deliveries have `EVENTS_DRAIN` to finish. The remaining ones
    /// are released, and their attempts are not counted.
    ///
    /// # Errors
    /// None: while the database is unavailable, the dispatcher waits.
    pub async fn run(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        if self.handlers.is_empty() {
            shutdown.cancelled().await;
            return Ok(());
        }
        let ended = ShutdownToken::new();
        let _ended = ended.clone().drop_guard();
        let (db, wake) = (self.events.store.db.clone(), Arc::clone(&self.events.wake));
        tokio::spawn(listen(db, CHANNEL, wake, ended));
        DispatcherRun::new(self).run(shutdown).await;
        Ok(())
    }

    /// Delivers all due events and the events their subscribers publish, until none is due. Returns the number of
    /// attempts. For tests and one-off commands.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn run_until_idle(&self) -> Result<usize, Error> {
        let mut round = DispatcherRun::new(self);
        let mut attempts = 0;
        loop {
            if let Some(relay) = &self.relay {
                relay.sweep().await?;
            }
            let look = round.claim_due().await?;
            if round.running.is_empty() && !look.is_zero() {
                return Ok(attempts);
            }
            while let Some(ended) = round.running.join_next_with_id().await {
                round.ended(ended.map_or_else(|error| error.id(), |(id, ())| id));
                attempts += 1;
            }
        }
    }

    /// Deletes deliveries and events that all subscribers finished longer than `EVENTS_KEEP` ago, and returns the
    /// number of deliveries. The dispatcher does this once a minute.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn purge(&self) -> Result<u64, Error> {
        self.events.store.purge(self.settings.keep).await
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("subscribers", &self.handlers.keys()).finish_non_exhaustive()
    }
}

/// A delivery that is being made.
struct RunningDelivery {
    claimed: ClaimedDelivery,
    task: AbortHandle,
}

/// One run of the dispatcher.
struct DispatcherRun {
    dispatcher: Dispatcher,
    running: JoinSet<()>,
    running_by_task: HashMap<tokio::task::Id, RunningDelivery>,
    /// Number of running deliveries by subscriber.
    load: HashMap<&'static str, usize>,
    outage: Outage,
    last_purge: Option<Instant>,
}

impl DispatcherRun {
    fn new(dispatcher: &Dispatcher) -> Self {
        Self {
            dispatcher: dispatcher.clone(),
            running: JoinSet::new(),
            running_by_task: HashMap::new(),
            load: HashMap::new(),
            outage: Outage::default(),
            last_purge: None,
        }
    }

    async fn run(mut self, shutdown: ShutdownToken) {
        let wake = Arc::clone(&self.dispatcher.events.wake);
        let poll = self.dispatcher.settings.poll;
        while !shutdown.is_cancelled() {
            let wait = match self.poll().await {
                // It waits for the end of the pause, regardless of ended deliveries and notifications. If the pause
                // has ended since, it looks at once.
                None => Duration::ZERO,
                Some(Ok(wait)) => {
                    if self.outage.record_success() {
                        tracing::info!(target: "omnistack::events", "the dispatcher can reach its database again");
                    }
                    wait.min(poll)
                }
                Some(Err(error)) => {
                    if self.outage.record_failure() {
                        tracing::error!(target: "omnistack::events", %error,
                            "the dispatcher can't reach its database; will retry");
                    }
                    poll
                }
            };
            tokio::select! {
                () = self.outage.pause_over(), if self.outage.is_paused() => {}
                () = wake.notified(), if !self.outage.is_paused() => {}
                () = sleep(wait), if !self.outage.is_paused() => {}
                Some(ended) = self.running.join_next_with_id() => {
                    self.ended(ended.map_or_else(|error| error.id(), |(id, ())| id));
                }
                () = shutdown.cancelled() => {}
            }
            while let Some(ended) = self.running.try_join_next_with_id() {
                self.ended(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
        }
        self.drain().await;
    }

    /// Looks for due deliveries, and once a minute deletes finished ones. Returns `None` during a pause of an
    /// outage.
    async fn poll(&mut self) -> Option<Result<Duration, Error>> {
        if self.outage.is_paused() {
            return None;
        }
        let wait = self.claim_due().await;
        if wait.is_ok()
            && is_due(&mut self.last_purge, PURGE_INTERVAL)
            && let Err(error) = self.dispatcher.purge().await
        {
            return Some(Err(error));
        }
        Some(wait)
    }

    /// Claims due deliveries for the free places. Returns the time until there may be more.
    async fn claim_due(&mut self) -> Result<Duration, Error> {
        let Dispatcher { events, handlers, names, settings, .. } = self.dispatcher.clone();
        let places = usize::try_from(settings.concurrency).unwrap_or(usize::MAX).max(1);
        // Leaves places for the other subscribers if one is slow.
        let most = if handlers.len() > 1 { places.div_ceil(2) } else { places };
        let mut wait = settings.poll;
        if self.running.len() >= places {
            return Ok(wait);
        }
        let mut next = events.store.next(&names).await?;
        next.sort_unstable_by_key(|lanes| lanes.first);
        let now = events.store.clock.now().as_micros();
        for lanes in next {
            let (Some(handler), Some(first)) = (handlers.get(lanes.subscriber.as_str()), lanes.first) else { continue };
            // Also if a lane is claimed now: no notification announces that a postponed lane becomes due.
            if let Some(later) = lanes.later {
                let early = Duration::from_micros((later - now).max(0).unsigned_abs());
                wait = wait.min(early.max(Duration::from_millis(1)));
            }
            if first > now {
                continue;
            }
            let load = self.load.get(handler.name).copied().unwrap_or(0);
            let limit = most.saturating_sub(load).min(places.saturating_sub(self.running.len()));
            if limit == 0 {
                continue;
            }
            let lease = handler.timeout.saturating_add(LEASE_MARGIN);
            let claim = DeliveryClaim { subscriber: handler.name, event: handler.event, limit, lease };
            let found = events.store.claim(claim).await?;
            if found.claimed.len() < limit && found.lanes == limit {
                // Some lanes had no delivery to make: there may be more lanes behind them.
                wait = Duration::ZERO;
            }
            wait = found.recheck_after.map_or(wait, |again| wait.min(again));
            for delivery in found.claimed {
                self.start(handler, delivery);
            }
        }
        Ok(wait)
    }

    fn start(&mut self, handler: &SubscriberHandler, claimed: ClaimedDelivery) {
        let attempt = attempt(
            handler.clone(),
            claimed.clone(),
            self.dispatcher.events.store.clone(),
            self.dispatcher.reporter.clone(),
        );
        let task = self.running.spawn(attempt);
        *self.load.entry(handler.name).or_default() += 1;
        self.running_by_task.insert(task.id(), RunningDelivery { claimed, task });
    }

    fn ended(&mut self, task: tokio::task::Id) {
        let Some(running) = self.running_by_task.remove(&task) else { return };
        if let Some(load) = self.load.get_mut(running.claimed.subscriber.as_str()) {
            *load -= 1;
        }
    }

    /// Waits for running deliveries, up to `EVENTS_DRAIN`, and releases the rest.
    async fn drain(mut self) {
        let until = Instant::now() + self.dispatcher.settings.drain;
        while let Ok(Some(ended)) = timeout_at(until, self.running.join_next_with_id()).await {
            self.ended(ended.map_or_else(|error| error.id(), |(id, ())| id));
        }
        let store = &self.dispatcher.events.store;
        for running in self.running_by_task.values() {
            running.task.abort();
        }
        while self.running.join_next().await.is_some() {}
        if !self.running_by_task.is_empty() {
            tracing::warn!(target: "omnistack::events", deliveries = self.running_by_task.len(),
                "released because the app is shutting down");
        }
        for RunningDelivery { claimed, .. } in self.running_by_task.values() {
            let at = store.clock.now().as_micros();
            if let Err(error) = store.store_failure(claimed, &FailedDelivery::Postpone { at }).await {
                tracing::warn!(target: "omnistack::events", %error,
                    "a delivery could not be released; it will be retried after its lease expires");
            }
        }
    }
}
