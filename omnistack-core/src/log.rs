//! Log lines on standard output.
//!
//! One line an event: `key=value` for people, or a JSON object for machines, with the fields of the spans it happened in,
//! so that every line of a request carries its id. Lines are collected and written by a thread of their own, at most
//! 20 ms later; warnings and errors are written at once. That, and a line format without layout, keep a request's access
//! log cheap.
//!
//! A program that sets up a `tracing` subscriber before [`AppBuilder::run`](crate::app::AppBuilder::run) keeps its own.

mod line;
mod sink;
mod subscriber;

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::{Config, Form, Section as _};
use line::Shape;
use sink::Sink;
use subscriber::LineLayer;

crate::section! {
    /// Logging.
    pub struct LogSettings {
        /// What is logged: a level, or levels by target as in `info,omnistack::db=debug`. `off` is silent.
        pub level: LogLevel = "LOG_LEVEL", default "info";
        /// `text` for people, `json` for machines; `auto` is text, and JSON in production.
        pub format: LogFormat = "LOG_FORMAT", default "auto";
    }
}

/// Which events are logged, by target.
#[derive(Clone, Debug)]
pub struct LogLevel(Targets);

impl Form for LogLevel {
    const FORM: &'static str = "off, error, warn, info, debug or trace, also by target";

    fn parse(text: &str) -> Result<Self, String> {
        // A bare word that is no level would be a target, and everything else would be silent.
        let bare =
            text.split(',').map(str::trim).find(|part| !part.contains('=') && part.parse::<LevelFilter>().is_err());
        match (bare, text.parse()) {
            (None, Ok(targets)) => Ok(Self(targets)),
            (bare, _) => Err(format!(
                "`{}` is not a level: write off, error, warn, info, debug or trace, and targets as in `info,omnistack::db=debug`",
                bare.unwrap_or(text)
            )),
        }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// As the environment suggests.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Form for LogFormat {
    const FORM: &'static str = "auto, text or json";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is neither auto, text nor json")),
        }
    }
}

/// Starts logging on standard output, unless the program has set up a subscriber of its own. Settings that can't be read
/// are left to the report of the build, and logged by their defaults meanwhile. Keep what it returns until the program
/// ends: dropped, it writes the last lines.
pub fn install(config: &Config) -> Logging {
    install_to(config, std::io::stdout())
}

/// As [`install`], to another writer.
pub fn install_to(config: &Config, writer: impl std::io::Write + Send + 'static) -> Logging {
    let settings = LogSettings::read(config).ok();
    let info = || Targets::new().with_default(LevelFilter::INFO);
    let targets = settings.as_ref().map_or_else(info, |settings| settings.level.0.clone());
    let shape = match settings.map_or(LogFormat::Auto, |settings| settings.format) {
        LogFormat::Auto if config.environment().is_production() => Shape::Json,
        LogFormat::Json => Shape::Json,
        LogFormat::Auto | LogFormat::Text => Shape::Text,
    };
    let sink = Sink::start(writer);
    // An error means that the program's own subscriber is in place.
    _ = tracing_subscriber::registry().with(targets).with(LineLayer::new(shape, sink.clone())).try_init();
    Logging(sink)
}

/// Writes the last lines when dropped.
#[derive(Debug)]
#[must_use = "dropped, it writes the lines so far"]
pub struct Logging(Sink);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.flush();
    }
}
