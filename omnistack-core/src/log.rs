//! Log lines on standard output.
//!
//! Each event is one line: `key=value` for people, or a JSON object for machines, with the fields of the spans around
//! it, so that every line of a request contains its request id. A separate thread writes the lines in batches, at
//! most 20 ms later; warnings and errors are written at once. This keeps the access log of a request cheap.
//!
//! If the program sets up a `tracing` subscriber before [`AppBuilder::run`](crate::app::AppBuilder::run), that one is
//! used.

mod format;
mod subscriber;
mod writer;

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::{Config, SettingValue, SettingsSection as _};
use format::LineFormat;
use subscriber::LineLayer;
use writer::LogWriter;

crate::settings! {
    /// Logging.
    pub struct LogSettings {
        /// Log level, or levels by target as in `info,omnistack::db=debug`. `off` disables logging.
        pub level: LogLevel = "LOG_LEVEL", default "info";
        /// Format of log lines: `text` for people, `json` for machines. `auto` is `json` in production and `text`
        /// elsewhere.
        pub format: LogFormat = "LOG_FORMAT", default "auto";
    }
}

/// Log levels by target.
#[derive(Clone, Debug)]
pub struct LogLevel(Targets);

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

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON in production, text elsewhere.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl SettingValue for LogFormat {
    const EXPECTED: &'static str = "auto, text or json";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is not a log format: use auto, text or json")),
        }
    }
}

/// Starts logging to standard output, unless the program has set up a subscriber. Invalid settings are replaced by
/// their defaults here; [`AppBuilder::build`](crate::app::AppBuilder::build) reports them. Keep the returned guard
/// until the program ends: it writes the last lines when it is dropped.
pub fn install(config: &Config) -> LogGuard {
    install_to(config, std::io::stdout())
}

/// Like [`install`], but writes to another writer.
pub fn install_to(config: &Config, writer: impl std::io::Write + Send + 'static) -> LogGuard {
    let settings = LogSettings::read(config).ok();
    let info = || Targets::new().with_default(LevelFilter::INFO);
    let targets = settings.as_ref().map_or_else(info, |settings| settings.level.0.clone());
    let shape = match settings.map_or(LogFormat::Auto, |settings| settings.format) {
        LogFormat::Auto if config.environment().is_production() => LineFormat::Json,
        LogFormat::Json => LineFormat::Json,
        LogFormat::Auto | LogFormat::Text => LineFormat::Text,
    };
    let sink = LogWriter::start(writer);
    // An error means that the program has set up a subscriber.
    _ = tracing_subscriber::registry().with(targets).with(LineLayer::new(shape, sink.clone())).try_init();
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
