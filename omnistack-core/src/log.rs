//! Log lines on standard output.
//!
//! Each event is one line: `key=value` for people, or a JSON object for machines, with the fields of the spans around
//! it, so that every line of a request contains its request id. Of fields with the same name, the innermost is written.
//! A JSON line also has the ids of the current trace and span. A separate thread writes the lines in batches, at
//! most 20 ms later; warnings and errors are written at once. This keeps the access log of a request cheap.
//!
//! # Secrets
//!
//! The value of a field whose name ends in `password`, `secret`, `token`, `authorization`, `cookie` or `api_key` is
//! replaced by `[redacted]`, and so is text in the form of a secret: the password of a URL, a bearer token, a JSON Web
//! Token, the key of a well-known service, or `password=…`. This is the last resort: secrets are
//! [`SecretString`](crate::SecretString)s, which can't be logged.
//!
//! # Levels
//!
//! `LOG_LEVEL` sets the levels, and [`set_level`] changes them while the program runs.
//!
//! If the program sets up a `tracing` subscriber before [`AppBuilder::run`](crate::app::AppBuilder::run), that one is
//! used.

mod ecs;
mod format;
mod level;
mod redact;
mod subscriber;
mod writer;

use tracing_subscriber::{
    layer::{Layer, SubscriberExt as _},
    registry::Registry,
    util::SubscriberInitExt as _,
};

use crate::config::{Config, SettingValue, SettingsSection as _};
use format::LineFormat;
use level::LevelFilterLayer;
use subscriber::LineLayer;
use writer::LogWriter;

pub use level::{LogLevel, level, set_level};
pub use redact::redact;

/// A layer of the `tracing` subscriber that [`install`] sets up.
pub type SubscriberLayer = Box<dyn Layer<Registry> + Send + Sync>;

crate::settings! {
    /// Logging.
    pub struct LogSettings {
        /// Log level, or levels by target as in `info,omnistack::db=debug`. `off` disables logging.
        pub level: LogLevel = "LOG_LEVEL", default "info";
        /// Format of log lines: `text` for people, `json` for machines, `ecs` for machines with the field names of the
        /// Elastic Common Schema. `auto` is `json` in production and `text` elsewhere.
        pub format: LogFormat = "LOG_FORMAT", default "auto";
    }
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON in production, text elsewhere.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
    /// One JSON object per line, with the field names of the Elastic Common Schema (ECS).
    Ecs,
}

impl SettingValue for LogFormat {
    const EXPECTED: &'static str = "auto, text, json or ecs";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "ecs" => Ok(Self::Ecs),
            _ => Err(format!("`{text}` is not a log format: use auto, text, json or ecs")),
        }
    }
}

/// Starts logging to standard output, unless the program has set up a subscriber. Invalid settings are replaced by
/// their defaults here; [`AppBuilder::build`](crate::app::AppBuilder::build) reports them. Keep the returned guard
/// until the program ends: it writes the last lines when it is dropped.
pub fn install(config: &Config) -> LogGuard {
    install_to(config, std::io::stdout(), Vec::new())
}

/// Like [`install`], but writes to another writer, and adds layers to the subscriber. The layers see spans and events
/// of all levels.
pub fn install_to(
    config: &Config,
    writer: impl std::io::Write + Send + 'static,
    layers: Vec<SubscriberLayer>,
) -> LogGuard {
    let settings = LogSettings::read(config).ok();
    let level = settings.as_ref().map(|settings| settings.level.clone()).unwrap_or_default();
    let format = match settings.map_or(LogFormat::Auto, |settings| settings.format) {
        LogFormat::Auto if config.environment().is_production() => LineFormat::Json,
        LogFormat::Json => LineFormat::Json,
        LogFormat::Ecs => LineFormat::Ecs,
        LogFormat::Auto | LogFormat::Text => LineFormat::Text,
    };
    let sink = LogWriter::start(writer);
    let (filter, lines) = (LevelFilterLayer::new(level), LineLayer::new(format, sink.clone()));
    let levels = filter.clone();
    // A filter for the whole subscriber costs less than one for a layer.
    let installed = if layers.is_empty() {
        tracing_subscriber::registry().with(filter.and_then(lines)).try_init()
    } else {
        tracing_subscriber::registry().with(layers).with(lines.with_filter(filter)).try_init()
    };
    // An error means that the program has set up a subscriber.
    if installed.is_ok() {
        levels.installed();
    }
    LogGuard(sink)
}

/// Guard that writes the last lines when it is dropped.
#[derive(Debug)]
#[must_use = "logging is flushed when the guard is dropped; keep it until the program ends"]
pub struct LogGuard(LogWriter);

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush();
    }
}
