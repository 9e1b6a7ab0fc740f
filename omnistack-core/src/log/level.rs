//! Log levels, and their change while the program runs.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use tracing::{Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::{Context, Filter, Layer},
};

use crate::config::SettingValue;

/// The levels of the subscriber that this crate has installed.
static INSTALLED: OnceLock<LevelFilterLayer> = OnceLock::new();

/// Log levels by target.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLevel(Targets);

impl Default for LogLevel {
    fn default() -> Self {
        Self(Targets::new().with_default(LevelFilter::INFO))
    }
}

impl fmt::Display for LogLevel {
    /// Formats the levels as in `LOG_LEVEL`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl SettingValue for LogLevel {
    const EXPECTED: &'static str = "off, error, warn, info, debug or trace, also by target";

    fn parse(text: &str) -> Result<Self, String> {
        // An unknown bare word would be parsed as a target, and would silence every other target.
        let bare =
            text.split(',').map(str::trim).find(|part| !part.contains('=') && part.parse::<LevelFilter>().is_err());
        match (bare, text.parse()) {
            (None, Ok(targets)) => Ok(Self(targets)),
            (bare, _) => Err(format!(
                "`{}` is not a log level: use off, error, warn, info, debug or trace, with targets as in `info,omnistack::db=debug`",
                bare.unwrap_or(text)
            )),
        }
    }
}

/// Returns the current log levels. Returns `None` if the program has set up a subscriber of its own.
pub fn level() -> Option<LogLevel> {
    INSTALLED.get().map(|layer| LogLevel(layer.0.load().as_ref().clone()))
}

/// Changes the log levels of this process, until it ends. Returns whether they were changed: they are not if the
/// program has set up a subscriber of its own.
pub fn set_level(level: LogLevel) -> bool {
    let Some(layer) = INSTALLED.get() else { return false };
    layer.0.store(Arc::new(level.0));
    tracing::callsite::rebuild_interest_cache();
    true
}

/// A layer that disables events and spans by their level and target.
#[derive(Clone, Debug)]
pub(super) struct LevelFilterLayer(Arc<ArcSwap<Targets>>);

impl LevelFilterLayer {
    pub(super) fn new(level: LogLevel) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(level.0)))
    }

    /// Makes [`set_level`] change these levels.
    pub(super) fn installed(self) {
        _ = INSTALLED.set(self);
    }

    fn is_enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.load().would_enable(metadata.target(), metadata.level())
    }

    fn interest(&self, metadata: &Metadata<'_>) -> Interest {
        if self.is_enabled(metadata) { Interest::always() } else { Interest::never() }
    }
}

/// Filters for the whole subscriber.
impl<S: Subscriber> Layer<S> for LevelFilterLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.interest(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.is_enabled(metadata)
    }
}

/// Filters for one layer, so that other layers see more.
impl<S> Filter<S> for LevelFilterLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.is_enabled(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.interest(metadata)
    }
}
