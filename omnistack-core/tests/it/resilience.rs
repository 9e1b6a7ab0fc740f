//! Tests of calls to services that fail or don't respond.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod breaker;
mod bulkhead;
mod fallback;
mod response;
mod retry;
mod stack;
mod upstream;

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    marker::PhantomData,
    sync::{Arc, Mutex},
    task::{self, Poll},
    time::Duration,
};

use futures_util::future::{BoxFuture, lazy};
use omnistack_core::resilience::{Classification, Classify, Error, Outcome};
use tokio::time::Instant;
use tower::Service;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// The error of the calls in these tests.
#[derive(Clone, Debug, PartialEq)]
enum CallError {
    /// An error response of the peer: its text and its classification.
    Answer(&'static str, Classification),
    Policy(Error),
}

impl Classify for CallError {
    fn class(&self) -> Classification {
        match self {
            Self::Answer(_, class) => *class,
            Self::Policy(error) => error.class(),
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Policy(error)
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
    Err(CallError::Answer(says, class))
}

/// Returns the text of the result, or the name of the policy that failed the call.
fn label(said: &CallResult) -> &'static str {
    match said {
        Ok(says) | Err(CallError::Answer(says, _)) => says,
        Err(CallError::Policy(Error::Timeout { .. })) => "timeout",
        Err(CallError::Policy(Error::CircuitOpen { .. })) => "open",
        Err(CallError::Policy(Error::QueueFull { .. })) => "full",
        Err(CallError::Policy(Error::PermitTimeout { .. })) => "no place",
        Err(CallError::Policy(other)) => panic!("{other}"),
    }
}

fn outcome(said: &CallResult) -> Outcome {
    said.as_ref().map_or_else(|fault| fault.class().outcome(), |_| Outcome::Success)
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

    /// Returns the peer as a tower service of any request.
    fn service<R>(&self) -> PeerService<R> {
        PeerService(self.clone(), false, PhantomData)
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    /// Returns the milliseconds between one call and the next.
    fn waits(&self) -> Vec<u128> {
        self.0.lock().unwrap().1.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect()
    }
}

/// A service that panics, like tower's own, if it is called before it was polled ready.
struct PeerService<R>(Peer, bool, PhantomData<fn(R)>);

impl<R> Clone for PeerService<R> {
    fn clone(&self) -> Self {
        self.0.service()
    }
}

impl<R> Service<R> for PeerService<R> {
    type Response = &'static str;
    type Error = CallError;
    type Future = BoxFuture<'static, CallResult>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), CallError>> {
        self.1 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        assert!(std::mem::take(&mut self.1), "called before it was ready");
        Box::pin(self.0.call())
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The log lines of this thread while the guard lives: `LEVEL message field=value …`.
#[derive(Clone, Default)]
struct ResilienceLog(Arc<Mutex<Vec<String>>>);

impl ResilienceLog {
    fn keep() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        (lines, guard)
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<S: tracing::Subscriber> Layer<S> for ResilienceLog {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("omnistack_core::resilience") {
            return;
        }
        let mut line = event.metadata().level().to_string();
        event.record(&mut |field: &tracing::field::Field, value: &dyn fmt::Debug| match field.name() {
            "message" => write!(line, " {value:?}").unwrap(),
            name => write!(line, " {name}={value:?}").unwrap(),
        });
        self.0.lock().unwrap().push(line);
    }
}
