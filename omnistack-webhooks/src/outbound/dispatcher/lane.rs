//! A lane: sends the due deliveries of one endpoint, batch after batch, until nothing is due.

use std::time::Duration;

use futures_util::future::join_all;
use omnistack_core::{
    ShutdownToken,
    clock::Timestamp,
    db,
    metrics::WEBHOOK_PROCESSING_DURATION,
    trace::{Span, attribute, processing_span},
};
use tokio::time::{Instant, sleep};

use super::feed::AttemptFeed;
use crate::outbound::{
    endpoint::SigningEndpoint,
    retry::{MAX_ATTEMPTS, Verdict},
    send::Sender,
    store::deliveries::{
        AttemptOutcome, ClaimedDelivery, DeliveryQueue, EndpointLease, FinishedAttempt, LaneLimits, LaneStep, LaneTurn,
        METRICS_PROVIDER,
    },
};

/// Time after which a lane ends although more is due, so that its place goes to the endpoint that waits longest.
const MAX_LANE_TIME: Duration = Duration::from_secs(10);

/// Time for which a lane tries to store results while the database fails. Shorter than the margins of the leases.
const MAX_STORE_TIME: Duration = Duration::from_secs(25);

/// First pause before results are stored again. It doubles with each further failure.
const FIRST_STORE_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause before results are stored again.
const MAX_STORE_PAUSE: Duration = Duration::from_secs(2);

/// Name of the destination of messages in spans.
const DESTINATION: &str = "webhook";

const MICROS_PER_SECOND: u64 = 1_000_000;

/// A lane of one endpoint.
pub(super) struct Lane {
    pub(super) queue: DeliveryQueue,
    pub(super) sender: Sender,
    pub(super) feed: AttemptFeed,
    pub(super) lease: EndpointLease,
    pub(super) limits: LaneLimits,
    /// Longest time between two looks at the clock while it waits for the rate limit.
    pub(super) poll: Duration,
    pub(super) shutdown: ShutdownToken,
}

impl Lane {
    /// Sends until nothing is due, the endpoint is no longer enabled, the lease is lost, or the app shuts down.
    pub(super) async fn run(self) {
        let ends = Instant::now() + MAX_LANE_TIME;
        let mut step = LaneStep::default();
        loop {
            step.is_last = self.shutdown.is_cancelled() || Instant::now() >= ends;
            let turn = self.advance(&step).await;
            if turn.is_some() {
                self.feed.send(&self.lease, &step.finished).await;
            }
            match turn {
                Some(LaneTurn::Send { endpoint, rate_per_second, deliveries }) => {
                    let spacing = rate_per_second.map(spacing);
                    let now = self.queue.clock.now();
                    let first = step.free_at.map_or(now, |free_at| free_at.max(now));
                    let count = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
                    step.finished = self.send_all(&endpoint, deliveries, first, spacing).await;
                    step.free_at = spacing.map(|spacing| first + spacing.saturating_mul(count));
                }
                Some(LaneTurn::Unreadable(error)) => {
                    tracing::error!(target: "omnistack::webhooks", endpoint = %self.lease.id, error,
                        "the secrets of an endpoint can't be opened; its deliveries wait");
                    return;
                }
                Some(LaneTurn::End) | None => return,
            }
        }
    }

    /// Stores results and claims deliveries. Repeats that if the database is away for a moment, since results that are
    /// not stored are sent again. Returns `None` if it failed.
    async fn advance(&self, step: &LaneStep) -> Option<LaneTurn> {
        let began = Instant::now();
        let mut pause = FIRST_STORE_PAUSE;
        loop {
            match self.queue.advance(&self.lease, step, self.limits).await {
                Ok(turn) => return Some(turn),
                Err(error) if may_pass(&error) && began.elapsed() + pause < MAX_STORE_TIME => {
                    tracing::debug!(target: "omnistack::webhooks", endpoint = %self.lease.id, %error,
                        "results of deliveries could not be stored; will retry");
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_STORE_PAUSE);
                }
                Err(error) => {
                    tracing::error!(target: "omnistack::webhooks", endpoint = %self.lease.id, %error,
                        deliveries = step.finished.len(),
                        "results of deliveries could not be stored; they are sent again after their lease has ended");
                    return None;
                }
            }
        }
    }

    /// Sends deliveries at once, or one after the other with `spacing` between their starts, from `first` on.
    async fn send_all(
        &self,
        endpoint: &SigningEndpoint,
        deliveries: Vec<ClaimedDelivery>,
        first: Timestamp,
        spacing: Option<Duration>,
    ) -> Vec<FinishedAttempt> {
        let starts = (0..).map(|index: u32| spacing.map(|spacing| first + spacing.saturating_mul(index)));
        let attempts = deliveries.iter().zip(starts).map(|(delivery, start)| async move {
            let outcome = self.attempt(endpoint, delivery, start).await;
            FinishedAttempt { delivery: delivery.id, number: delivery.attempts, outcome }
        });
        join_all(attempts).await
    }

    async fn attempt(
        &self,
        endpoint: &SigningEndpoint,
        delivery: &ClaimedDelivery,
        start: Option<Timestamp>,
    ) -> AttemptOutcome {
        if delivery.attempts > MAX_ATTEMPTS {
            return AttemptOutcome::Exhausted;
        }
        if let Some(start) = start
            && !self.wait_until(start).await
        {
            return AttemptOutcome::Unsent;
        }
        let span = self.attempt_span(delivery);
        let result = span.run(self.sender.send(endpoint, delivery.message_id, &delivery.payload)).await;
        if result.verdict() != Verdict::Delivered {
            span.set_error("not_delivered");
        }
        WEBHOOK_PROCESSING_DURATION.histogram([METRICS_PROVIDER]).record(result.duration);
        tracing::debug!(target: "omnistack::webhooks", endpoint = %self.lease.id, delivery = %delivery.id,
            attempt = delivery.attempts, status = result.status, error = result.error, "sent a webhook");
        AttemptOutcome::Sent(result, rand::random())
    }

    /// Starts the span of an attempt, in the trace in which the message was published.
    fn attempt_span(&self, delivery: &ClaimedDelivery) -> Span {
        let span = processing_span(delivery.trace(), DESTINATION, delivery.message_id);
        if span.is_recording() {
            span.set(attribute::OMNISTACK_ATTEMPT, delivery.attempts);
            span.set(attribute::OMNISTACK_TENANT_ID, self.lease.tenant_id.to_string());
        }
        span
    }

    /// Waits until the app's clock has reached a time. Returns `false` if the app shuts down before.
    async fn wait_until(&self, start: Timestamp) -> bool {
        loop {
            let left = start.duration_since(self.queue.clock.now());
            if left.is_zero() {
                return true;
            }
            if tokio::time::timeout(left.min(self.poll), self.shutdown.cancelled()).await.is_ok() {
                return false;
            }
        }
    }
}

/// Returns the time between the starts of two requests at a rate per second.
fn spacing(rate_per_second: i64) -> Duration {
    let rate = u64::try_from(rate_per_second).unwrap_or(1).max(1);
    Duration::from_micros(MICROS_PER_SECOND.div_ceil(rate))
}

/// Returns whether the same statements may succeed soon.
fn may_pass(error: &db::Error) -> bool {
    error.is_retryable() || error.kind() == db::ErrorKind::Timeout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spaced_by_the_rate() {
        for (rate, micros) in [(1, 1_000_000), (3, 333_334), (100, 10_000), (0, 1_000_000), (-5, 1_000_000)] {
            assert_eq!(spacing(rate), Duration::from_micros(micros), "{rate}");
        }
    }
}
