//! The token with the time at which a form was opened. The app seals it, so that a client can't change the time.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::ExposeSecret as _;

use omnistack_core::{
    clock::{Clock, Timestamp},
    crypto::{self, KeyRing, SealContext},
};

/// Largest difference between the clocks of two replicas, in seconds.
const MAX_CLOCK_SKEW_SECS: i64 = 60;

/// The content of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormOpened {
    /// The form was opened this long ago.
    Ago(Duration),
    /// The token is not one of this app, or was changed.
    InvalidToken,
}

/// The tokens of forms: issues and reads them. All requests in the same second get the same token, so that many
/// requests do not use the key more often than few.
#[derive(Clone)]
pub(super) struct FormTokens {
    keys: KeyRing,
    clock: Clock,
    last: Arc<Mutex<Option<(i64, String)>>>,
}

impl FormTokens {
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
        let token = self.keys.seal(now.to_string(), &seal_context())?;
        *last = Some((now, token.clone()));
        Ok(token)
    }

    pub(super) fn read(&self, token: &str) -> FormOpened {
        let opened = self.keys.open_text(token, &seal_context()).ok();
        let Some(second) = opened.and_then(|text| text.expose_secret().parse::<i64>().ok()) else {
            return FormOpened::InvalidToken;
        };
        let now = self.clock.now();
        let Some(micros) = second.checked_mul(1_000_000).filter(|_| second <= now.as_seconds() + MAX_CLOCK_SKEW_SECS)
        else {
            return FormOpened::InvalidToken;
        };
        FormOpened::Ago(now.duration_since(Timestamp::from_micros(micros)))
    }
}

fn seal_context() -> SealContext {
    SealContext::row("contact", "form", "opened")
}

impl fmt::Debug for FormTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}
