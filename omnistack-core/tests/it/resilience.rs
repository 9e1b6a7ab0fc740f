//! Tests of calls to services that fail or don't respond.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod breaker;
mod fallback;
mod response;
mod retry;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::lazy;
use omnistack_core::resilience::{Classification, Classify};
use tokio::time::Instant;

/// The error of the calls in these tests: its text and its classification.
#[derive(Clone, Debug, PartialEq)]
struct CallError(&'static str, Classification);

impl Classify for CallError {
    fn class(&self) -> Classification {
        self.1
    }
}

type CallResult = Result<&'static str, CallError>;

const BUSY: Classification = Classification::failed().retryable();
const DECLINED: Classification = Classification::failed();
const LOST: Classification = Classification::unknown().retryable();

#[expect(clippy::unnecessary_wraps, reason = "the counterpart of `err`")]
fn ok(says: &'static str) -> CallResult {
    Ok(says)
}

fn err(says: &'static str, class: Classification) -> CallResult {
    Err(CallError(says, class))
}

/// Returns the text of the result.
fn label(said: &CallResult) -> &'static str {
    match said {
        Ok(says) | Err(CallError(says, _)) => says,
    }
}

/// A peer that returns scripted results, repeats the last one, and records the time of each call.
#[derive(Clone)]
struct Peer(Arc<Mutex<(VecDeque<CallResult>, Vec<Instant>)>>);

impl Peer {
    fn new(answers: impl IntoIterator<Item = CallResult>) -> Self {
        Self(Arc::new(Mutex::new((answers.into_iter().collect(), Vec::new()))))
    }

    /// Makes one call when the future is polled.
    fn call(&self) -> impl Future<Output = CallResult> + Send + use<> {
        let peer = self.clone();
        lazy(move |_| {
            let mut peer = peer.0.lock().unwrap();
            peer.1.push(Instant::now());
            if peer.0.len() > 1 { peer.0.pop_front().unwrap() } else { peer.0[0].clone() }
        })
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    /// Returns the durations between one call and the next.
    fn waits(&self) -> Vec<Duration> {
        self.0.lock().unwrap().1.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
