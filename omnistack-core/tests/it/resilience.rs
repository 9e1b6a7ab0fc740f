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
use omnistack_core::resilience::{Class, Classify, Error, Outcome};
use tokio::time::Instant;
use tower::Service;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// The error of the calls in these tests.
#[derive(Clone, Debug, PartialEq)]
enum Fault {
    /// An error response of the peer: its text and its classification.
    Answer(&'static str, Class),
    Policy(Error),
}

impl Classify for Fault {
    fn class(&self) -> Class {
        match self {
            Self::Answer(_, class) => *class,
            Self::Policy(error) => error.class(),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Policy(error)
    }
}

type Said = Result<&'static str, Fault>;

const BUSY: Class = Class::failed().retryable();
const DECLINED: Class = Class::failed();
const LOST: Class = Class::unknown().retryable();

#[expect(clippy::unnecessary_wraps, reason = "the counterpart of `err`")]
fn ok(says: &'static str) -> Said {
    Ok(says)
}

fn err(says: &'static str, class: Class) -> Said {
    Err(Fault::Answer(says, class))
}

/// Returns the text of the result, or the name of the policy that failed the call.
fn word(said: &Said) -> &'static str {
    match said {
        Ok(says) | Err(Fault::Answer(says, _)) => says,
        Err(Fault::Policy(Error::Timeout { .. })) => "timeout",
        Err(Fault::Policy(Error::CircuitOpen { .. })) => "open",
        Err(Fault::Policy(Error::Full { .. })) => "full",
        Err(Fault::Policy(Error::NoPlace { .. })) => "no place",
        Err(Fault::Policy(other)) => panic!("{other}"),
    }
}

fn outcome(said: &Said) -> Outcome {
    said.as_ref().map_or_else(|fault| fault.class().outcome(), |_| Outcome::Success)
}

/// A peer that returns scripted results, repeats the last one, and records the time of each call.
#[derive(Clone)]
struct Peer(Arc<Mutex<(VecDeque<Said>, Vec<Instant>)>>);

impl Peer {
    fn new(answers: impl IntoIterator<Item = Said>) -> Self {
        Self(Arc::new(Mutex::new((answers.into_iter().collect(), Vec::new()))))
    }

    /// Makes one call when the future is polled.
    fn call(&self) -> impl Future<Output = Said> + Send + use<> {
        let peer = self.clone();
        lazy(move |_| {
            let mut peer = peer.0.lock().unwrap();
            peer.1.push(Instant::now());
            if peer.0.len() > 1 { peer.0.pop_front().unwrap() } else { peer.0[0].clone() }
        })
    }

    /// Returns the peer as a tower service of any request.
    fn service<R>(&self) -> Served<R> {
        Served(self.clone(), false, PhantomData)
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
struct Served<R>(Peer, bool, PhantomData<fn(R)>);

impl<R> Clone for Served<R> {
    fn clone(&self) -> Self {
        self.0.service()
    }
}

impl<R> Service<R> for Served<R> {
    type Response = &'static str;
    type Error = Fault;
    type Future = BoxFuture<'static, Said>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Fault>> {
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
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn keep() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        (lines, guard)
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
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
