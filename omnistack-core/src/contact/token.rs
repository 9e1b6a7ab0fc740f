//! The token with the time at which a form was opened. The app seals it, so that a client can't change the time.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::ExposeSecret as _;

use crate::{
    clock::{Clock, Timestamp},
    crypto::{self, Context, KeyRing},
};

/// Largest difference between the clocks of two replicas, in seconds.
const MAX_CLOCK_SKEW_SECS: i64 = 60;

/// The content of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// The form was opened this long ago.
    Ago(Duration),
    /// The token is not one of this app, or was changed.
    Never,
}

/// Issues and reads tokens. All requests in the same second get the same token, so that many requests do not use
/// the key more often than few.
#[derive(Clone)]
pub(super) struct Tokens {
    keys: KeyRing,
    clock: Clock,
    last: Arc<Mutex<Option<(i64, String)>>>,
}

impl Tokens {
    pub(super) fn new(keys: KeyRing, clock: Clock) -> Self {
        Self { keys, clock, last: Arc::default() }
    }

    /// Returns a token for a form that is opened now. Fails if sealing fails.
    pub(super) fn issue(&self) -> Result<String, crypto::Error> {
        let now = self.clock.now().as_seconds();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, token)) = last.as_ref().filter(|(second, _)| *second == now) {
            return Ok(token.clone());
        }
        let token = self.keys.seal(now.to_string(), &place())?;
        *last = Some((now, token.clone()));
        Ok(token)
    }

    pub(super) fn read(&self, token: &str) -> Opened {
        let opened = self.keys.open_text(token, &place()).ok();
        let Some(second) = opened.and_then(|text| text.expose_secret().parse::<i64>().ok()) else {
            return Opened::Never;
        };
        let now = self.clock.now();
        let Some(micros) = second.checked_mul(1_000_000).filter(|_| second <= now.as_seconds() + MAX_CLOCK_SKEW_SECS)
        else {
            return Opened::Never;
        };
        Opened::Ago(now.since(Timestamp::from_micros(micros)))
    }
}

fn place() -> Context {
    Context::row("contact", "form", "opened")
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}
