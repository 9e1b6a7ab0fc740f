//! The dispatcher of deliveries: finds endpoints with due deliveries, leases them, and runs a [lane](lane) for each.
//!
//! One process at a time sends to an endpoint, and each endpoint has a task of its own, so that a slow endpoint delays
//! only itself. The number of tasks is bounded for the process, for each tenant, and for a tenant's failing endpoints.

mod feed;
mod lane;
mod share;

use std::{collections::HashMap, time::Duration};

use omnistack_core::{
    ShutdownToken,
    clock::Clock,
    db::{self, Db},
    http::client::GuardedClient,
    module::Registry,
    webhook::WebhookEndpointDisabled,
};
use tokio::{
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    send::Sender,
    settings::OutboundSettings,
    store::deliveries::{DeliveryQueue, EndpointLease, EndpointWork, LaneLimits},
    wake::DeliveryWake,
};
use feed::AttemptFeed;
use lane::Lane;
use share::{LaneCandidate, MAX_LANES_PER_TENANT, choose};

/// Most deliveries that are sent to an endpoint at once.
const MAX_BATCH: i64 = 16;

/// Time by which the lease of an endpoint exceeds the timeout of an attempt: time to store the results, also if the
/// database is away for a while.
const ENDPOINT_LEASE_MARGIN: Duration = Duration::from_secs(45);

/// Time by which the lease of a delivery exceeds the timeout of an attempt.
const DELIVERY_LEASE_MARGIN: Duration = Duration::from_secs(30);

/// Shortest time between two searches for due deliveries, so that many notifications cause few searches.
const MIN_SEARCH_INTERVAL: Duration = Duration::from_millis(10);

/// Most disabled endpoints whose deliveries are skipped after a search, so that lanes don't wait long for the next one.
const MAX_SKIPPED_PER_SEARCH: usize = 16;

/// First pause after an error of the database. It doubles with each further one.
const FIRST_OUTAGE_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause after an error of the database.
const MAX_OUTAGE_PAUSE: Duration = Duration::from_secs(10);

/// Registers the background service that delivers webhooks, and the event that it publishes.
pub(crate) fn register(registry: &mut Registry, settings: &OutboundSettings) {
    let settings = settings.clone();
    registry.forward_to_webhooks::<WebhookEndpointDisabled>("webhook-endpoint-disabled");
    registry.background_service("webhook deliveries", move |ctx| {
        let clock = ctx.get::<Clock>()?;
        let dispatcher = WebhookDispatcher {
            queue: DeliveryQueue {
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                keys: ctx.get()?,
                events: ctx.get()?,
                audit: ctx.get()?,
            },
            sender: Sender { client: ctx.get::<GuardedClient>()?.0, clock, timeout: settings.timeout },
            feed: AttemptFeed(ctx.get()?),
            wake: ctx.get()?,
            concurrency: usize::try_from(settings.concurrency).unwrap_or(usize::MAX),
            poll: settings.poll,
        };
        Ok(move |shutdown: ShutdownToken| {
            let run = DispatcherRun::new(dispatcher.clone());
            async move {
                run.run(shutdown).await;
                Ok(())
            }
        })
    });
}

/// The parts of the dispatcher. Cheap to clone.
#[derive(Clone)]
struct WebhookDispatcher {
    queue: DeliveryQueue,
    sender: Sender,
    feed: AttemptFeed,
    wake: DeliveryWake,
    /// Most endpoints to which the process sends at once.
    concurrency: usize,
    /// Interval at which it looks for deliveries that it was not notified of.
    poll: Duration,
}

/// One run of the dispatcher. If it is dropped, its lanes end at once; what they were sending is sent again after the
/// leases have ended.
struct DispatcherRun {
    dispatcher: WebhookDispatcher,
    lanes: JoinSet<()>,
    leases_by_task: HashMap<task::Id, EndpointLease>,
    /// Errors of the database since the last success.
    failures: u32,
}

impl DispatcherRun {
    fn new(dispatcher: WebhookDispatcher) -> Self {
        Self { dispatcher, lanes: JoinSet::new(), leases_by_task: HashMap::new(), failures: 0 }
    }

    /// Delivers until shutdown. Then the lanes end after the deliveries that they are sending.
    async fn run(mut self, shutdown: ShutdownToken) {
        let (wake, poll) = (self.dispatcher.wake.clone(), self.dispatcher.poll);
        // The earliest and the planned time of the next search.
        let mut earliest = Instant::now();
        let mut planned = earliest;
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(ended) = self.lanes.join_next_with_id() => {
                    self.lane_ended(ended);
                    // There is a free place, or a message was published while the lane ended.
                    planned = earliest;
                }
                () = wake.woken() => planned = earliest,
                () = sleep_until(planned), if self.free_places() > 0 => {
                    let began = Instant::now();
                    let pause = match self.search(&shutdown).await {
                        Ok(more) => {
                            self.report_success();
                            // A search that takes long, since many endpoints wait for retries, is not repeated at once.
                            let pause = MIN_SEARCH_INTERVAL.max(began.elapsed());
                            planned = Instant::now() + if more { pause } else { pause.max(poll) };
                            pause
                        }
                        Err(error) => {
                            let pause = self.report_failure(&error);
                            planned = Instant::now() + pause;
                            pause
                        }
                    };
                    earliest = Instant::now() + pause;
                }
            }
        }
        while let Some(ended) = self.lanes.join_next_with_id().await {
            self.lane_ended(ended);
        }
    }

    /// Returns the number of further lanes that the process may run.
    fn free_places(&self) -> usize {
        self.dispatcher.concurrency.saturating_sub(self.lanes.len())
    }

    /// Starts lanes for endpoints with due deliveries, and skips the deliveries of disabled endpoints. Returns whether
    /// it should search again soon.
    async fn search(&mut self, shutdown: &ShutdownToken) -> Result<bool, db::Error> {
        let WebhookDispatcher { queue, concurrency, .. } = &self.dispatcher;
        // The first endpoints of the tenants that have lanes, a failing one and another one of each, are at most two
        // thirds of these.
        let work = queue.find_work(MAX_LANES_PER_TENANT, concurrency.saturating_mul(3)).await?;
        let (disabled, waiting): (Vec<_>, Vec<_>) = work.into_iter().partition(EndpointWork::is_disabled);
        let waiting: Vec<_> = waiting.iter().map(LaneCandidate::from).collect();
        let running: Vec<_> = self.leases_by_task.values().map(LaneCandidate::from).collect();
        let chosen = choose(&running, &waiting, self.free_places());
        let limits = self.limits();
        let leases = if chosen.is_empty() { Vec::new() } else { queue.lease(&chosen, limits.lease).await? };
        for lease in leases {
            let lane = Lane {
                queue: queue.clone(),
                sender: self.dispatcher.sender.clone(),
                feed: self.dispatcher.feed.clone(),
                lease,
                limits,
                poll: self.dispatcher.poll,
                shutdown: shutdown.clone(),
            };
            let task = self.lanes.spawn(lane.run());
            self.leases_by_task.insert(task.id(), lease);
        }
        let mut more = false;
        for work in disabled.iter().take(MAX_SKIPPED_PER_SEARCH) {
            more |= queue.skip_disabled(work).await?;
        }
        Ok(more)
    }

    fn limits(&self) -> LaneLimits {
        let timeout = self.dispatcher.sender.timeout;
        LaneLimits {
            batch: MAX_BATCH,
            lease: timeout.saturating_add(ENDPOINT_LEASE_MARGIN),
            delivery_lease: timeout.saturating_add(DELIVERY_LEASE_MARGIN),
        }
    }

    fn lane_ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(target: "omnistack::webhooks", %error,
                    "sending to an endpoint ended with a panic; it is continued after its lease has ended");
                error.id()
            }
        };
        self.leases_by_task.remove(&id);
    }

    fn report_success(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(target: "omnistack::webhooks", "the dispatcher can reach its database again");
        }
    }

    /// Reports the first error of an outage. Returns the pause before the next search.
    fn report_failure(&mut self, error: &db::Error) -> Duration {
        if self.failures == 0 {
            tracing::error!(target: "omnistack::webhooks", %error,
                "the dispatcher can't reach its database; will retry");
        }
        let pause = FIRST_OUTAGE_PAUSE * 2_u32.pow(self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        pause.min(MAX_OUTAGE_PAUSE)
    }
}
