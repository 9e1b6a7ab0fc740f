//! One attempt of a delivery.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tracing::{Instrument as _, field};

use crate::{
    error_event::{ErrorOrigin, ErrorReporter},
    events::{
        Delivery, SubscriberHandler,
        store::{ClaimedDelivery, EventStore, FailedDelivery},
        subscriber::DeliveryStatus,
    },
    jobs::{JobError, JobErrorKind, error_text, jittered_backoff},
    metrics::ERRORS,
    run_error::{PANICKED, panic_text},
    trace::{Span, attribute, processing_span},
};

/// Time by which a delivery is postponed after an error of the database.
const DATABASE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Makes a delivery once and stores the result. A panic or timeout of the subscriber does not end the dispatcher.
pub(super) async fn attempt(
    handler: SubscriberHandler,
    claimed: ClaimedDelivery,
    store: EventStore,
    reporter: Option<ErrorReporter>,
) {
    let log = tracing::info_span!(target: "omnistack::events", "event", subscriber = handler.name, id = %claimed.id,
        key = claimed.key, attempt = claimed.attempt, tenant = claimed.tenant.map(field::display));
    let span = delivery_span(&handler, &claimed);
    let attempt = async {
        let Some(outcome) = deliver(&handler, &claimed, &store).await else { return };
        if let FailedDelivery::Retry { error, .. } | FailedDelivery::Dead { error } = &outcome {
            ERRORS.counter(["delivery"]).increment(1);
            let last = matches!(outcome, FailedDelivery::Dead { .. });
            span.set_error(if last { "dead" } else { "retry" });
            if let Some(reporter) = reporter {
                let origin = ErrorOrigin::Delivery { subscriber: handler.name, last };
                reporter.report_background(origin, "DELIVERY_FAILED", error, claimed.tenant, store.clock.now());
            }
        }
        if let Err(error) = store.store_failure(&claimed, &outcome).await {
            tracing::error!(target: "omnistack::events", %error,
                "the result could not be stored; it will be retried after its lease expires");
        }
    };
    span.run(attempt).instrument(log).await;
}

/// Starts the span of a delivery, in the trace in which the event was published.
fn delivery_span(handler: &SubscriberHandler, claimed: &ClaimedDelivery) -> Span {
    let span = processing_span(claimed.trace(), handler.event, claimed.id.uuid());
    if span.is_recording() {
        span.set(attribute::MESSAGING_CONSUMER_GROUP_NAME, handler.name);
        span.set(attribute::OMNISTACK_ATTEMPT, i64::from(claimed.attempt));
        if let Some(tenant) = claimed.tenant {
            span.set(attribute::OMNISTACK_TENANT_ID, tenant.to_string());
        }
    }
    span
}

/// Makes the delivery. Returns the result to store, or `None` if it is stored already or the delivery was taken
/// over.
async fn deliver(handler: &SubscriberHandler, claimed: &ClaimedDelivery, store: &EventStore) -> Option<FailedDelivery> {
    let number = claimed.attempt.unsigned_abs();
    if number > handler.max_attempts {
        let error =
            format!("attempt {} ended without a result: its process crashed or froze past its lease", number - 1);
        tracing::error!(target: "omnistack::events", error, "failed permanently; its key is held back");
        return Some(FailedDelivery::Dead { error });
    }
    let mut delivery = Delivery::new(claimed.clone(), store.clone());
    let handle = AssertUnwindSafe(handler.handle.handle(&claimed.payload, &mut delivery)).catch_unwind();
    let result = match tokio::time::timeout(handler.timeout, handle).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(JobError::retry(format!("{PANICKED}{}", panic_text(panic.as_ref())))),
        Err(_) => Err(JobError::retry(format!("took longer than {:?}", handler.timeout))),
    };
    let now = store.clock.now().as_micros();
    let error = match (delivery.status, result) {
        (DeliveryStatus::Lost, _) => {
            tracing::warn!(target: "omnistack::events", "taken over by another process, or skipped; not acknowledged");
            return None;
        }
        (DeliveryStatus::Handled, _) => match delivery.acknowledge().await {
            Ok(()) => return None,
            Err(error) => {
                tracing::warn!(target: "omnistack::events", %error, "could not be acknowledged; will retry");
                return Some(FailedDelivery::Postpone { at: now + micros(DATABASE_RETRY_DELAY) });
            }
        },
        (DeliveryStatus::Unknown, _) => {
            return Some(FailedDelivery::Postpone { at: now + micros(DATABASE_RETRY_DELAY) });
        }
        (DeliveryStatus::Open, Err(error)) => {
            // The transaction is rolled back before anything else is done.
            drop(delivery);
            error
        }
        (DeliveryStatus::Open, Ok(())) => match delivery.commit().await {
            Ok(()) => return None,
            // If another process has taken the delivery over, it keeps it: the result is only stored for the
            // newest lease.
            Err(error) if error.is_retryable() => {
                tracing::warn!(target: "omnistack::events", %error, "could not be acknowledged; will retry");
                return Some(FailedDelivery::Postpone { at: now + micros(DATABASE_RETRY_DELAY) });
            }
            Err(error) => JobError::retry(error),
        },
    };
    Some(outcome_of_error(&error, handler, claimed, now))
}

fn outcome_of_error(
    error: &JobError,
    handler: &SubscriberHandler,
    claimed: &ClaimedDelivery,
    now: i64,
) -> FailedDelivery {
    let number = claimed.attempt.unsigned_abs();
    match error.kind {
        JobErrorKind::Snooze(pause) => FailedDelivery::Postpone { at: now.saturating_add(micros(pause)) },
        JobErrorKind::Retry if number < handler.max_attempts => {
            let wait = jittered_backoff(handler.backoff, number, claimed.id.uuid().as_u128());
            tracing::warn!(target: "omnistack::events", %error, ?wait, "failed; will retry");
            FailedDelivery::Retry { at: now.saturating_add(micros(wait)), error: error_text(error) }
        }
        JobErrorKind::Retry | JobErrorKind::Fatal => {
            tracing::error!(target: "omnistack::events", %error, "failed permanently; its key is held back");
            FailedDelivery::Dead { error: error_text(error) }
        }
    }
}

fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}
