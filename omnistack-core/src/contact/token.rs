//! When a form was opened, as its page says it: sealed by the app, so that it can't say another time.

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

/// Clocks of replicas differ by less.
const AHEAD: i64 = 60;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// So long ago.
    Ago(Duration),
    /// It is none of ours, or was changed.
    Never,
}

/// Makes tokens and reads them. Whoever asks in the same second gets the same one: so many questions need no more of the key
/// than few do.
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

    /// One for a form that is opened now.
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
        let Some(micros) = second.checked_mul(1_000_000).filter(|_| second <= now.as_seconds() + AHEAD) else {
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
