//! Log lines on standard output.

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::{Config, Form};

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
        text.parse().map(Self).map_err(|_| format!("`{text}` is not a level: write e.g. info, or info,omnistack::db=debug"))
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
/// are left to the report of the build, and logged by their defaults meanwhile.
pub fn install(config: &Config) {
    install_to(config, std::io::stdout, std::io::IsTerminal::is_terminal(&std::io::stdout()));
}

/// As [`install`], to another writer, with colours or without.
pub fn install_to(config: &Config, writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static, colours: bool) {
    let settings = config.section::<LogSettings>().ok();
    let targets = settings.as_ref().map_or_else(|| Targets::new().with_default(LevelFilter::INFO), |settings| settings.level.0.clone());
    let format = settings.map_or(LogFormat::Auto, |settings| settings.format);
    let json = match format {
        LogFormat::Auto => config.environment().is_production(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(targets);
    // An error means that the program's own subscriber is in place.
    _ = if json {
        let json = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
        registry.with(json.with_writer(writer)).try_init()
    } else {
        registry.with(fmt::layer().compact().with_ansi(colours).with_writer(writer)).try_init()
    };
}
