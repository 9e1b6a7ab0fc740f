//! One attempt to deliver, to its end.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tracing::Instrument as _;

use crate::{
    events::{
        Delivery, Handler,
        store::{Claimed, Outcome, Store},
        subscriber::Standing,
    },
    failure::panic_text,
    jobs::{JobError, Kind, storable, wait},
    trace::within,
};

/// What a delivery waits that the database did not let happen.
const PAUSE: Duration = Duration::from_secs(1);

/// Delivers once and stores how that ended. Nothing the subscriber does can end the dispatcher.
pub(super) async fn attempt(handler: Handler, claimed: Claimed, store: Store) {
    let span = tracing::info_span!(target: "omnistack::events", "event", subscriber = handler.name, id = %claimed.id,
        key = claimed.key, attempt = claimed.attempt, trace = claimed.trace);
    async {
        let Some(outcome) = deliver(&handler, &claimed, &store).await else { return };
        if let Err(error) = store.not_done(&claimed, &outcome).await {
            tracing::error!(target: "omnistack::events", %error, "how it ended could not be stored; it is tried again when its lease ends");
        }
    }
    .instrument(span)
    .await;
}

/// What is to be stored; nothing when it succeeded, or is somebody else's by now.
async fn deliver(handler: &Handler, claimed: &Claimed, store: &Store) -> Option<Outcome> {
    let number = claimed.attempt.unsigned_abs();
    if number > handler.max_attempts {
        let error =
            format!("attempt {} ended without a word: its process crashed, or froze past its lease", number - 1);
        tracing::error!(target: "omnistack::events", error, "failed for good; its key is held back");
        return Some(Outcome::Dead { error });
    }
    let mut delivery = Delivery::new(claimed.clone(), store.clone());
    let handle = AssertUnwindSafe(handler.handle.handle(&claimed.payload, &mut delivery)).catch_unwind();
    let handle = within(claimed.trace(), handle);
    let result = match tokio::time::timeout(handler.timeout, handle).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(JobError::retry(format!("panicked: {}", panic_text(panic.as_ref())))),
        Err(_) => Err(JobError::retry(format!("took longer than {:?}", handler.timeout))),
    };
    let now = store.clock.now().as_micros();
    let error = match (delivery.standing, result) {
        (Standing::Lost, _) => {
            tracing::warn!(target: "omnistack::events", "is somebody else's by now, or was given up; nothing is acknowledged");
            return None;
        }
        (Standing::Handled, _) => match delivery.acknowledge().await {
            Ok(()) => return None,
            Err(error) => {
                tracing::warn!(target: "omnistack::events", %error, "could not be acknowledged; will be tried again");
                return Some(Outcome::Again { at: now + micros(PAUSE) });
            }
        },
        (Standing::Unknown, _) => return Some(Outcome::Again { at: now + micros(PAUSE) }),
        (Standing::Open, Err(error)) => {
            // What it wrote is rolled back before anything else is done.
            drop(delivery);
            error
        }
        (Standing::Open, Ok(())) => match delivery.commit().await {
            Ok(()) => return None,
            // Whoever has it by now keeps it: this is stored for the newest lease only.
            Err(error) if error.is_retryable() => {
                tracing::warn!(target: "omnistack::events", %error, "could not be acknowledged; will be tried again");
                return Some(Outcome::Again { at: now + micros(PAUSE) });
            }
            Err(error) => JobError::retry(error),
        },
    };
    Some(judge(&error, handler, claimed, now))
}

fn judge(error: &JobError, handler: &Handler, claimed: &Claimed, now: i64) -> Outcome {
    let number = claimed.attempt.unsigned_abs();
    match error.kind {
        Kind::Snooze(pause) => Outcome::Again { at: now.saturating_add(micros(pause)) },
        Kind::Retry if number < handler.max_attempts => {
            let wait = wait(handler.backoff, number, claimed.id.uuid().as_u128());
            tracing::warn!(target: "omnistack::events", %error, ?wait, "failed; will be tried again");
            Outcome::Retry { at: now.saturating_add(micros(wait)), error: storable(error) }
        }
        Kind::Retry | Kind::Fatal => {
            tracing::error!(target: "omnistack::events", %error, "failed for good; its key is held back");
            Outcome::Dead { error: storable(error) }
        }
    }
}

fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}
