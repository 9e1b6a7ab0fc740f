//! Typed settings from `.env`, `omnistack.toml` and the environment.
//!
//! Every setting has one name: that of its environment variable. In `omnistack.toml` the name may also be written
//! as a path: `[http] body_limit = "2MiB"` sets `HTTP_BODY_LIMIT`. The sources are, in order, `.env`,
//! `omnistack.toml` and the environment; a later source overrides an earlier one. An empty value counts as
//! absent.
//!
//! Settings are declared where they are used, with [`settings!`](crate::settings). The configuration reference is
//! generated from the same declarations:
//!
//! ```
//! use omnistack_core::config::Config;
//! use std::time::Duration;
//!
//! omnistack_core::settings! {
//!     /// Greetings.
//!     pub struct GreetingSettings {
//!         /// Name of the person to greet.
//!         pub name: String = "GREETING_NAME", default "world";
//!         /// Longest duration of a greeting.
//!         pub timeout: Duration = "GREETING_TIMEOUT", default "5s", range "1s"..="1m";
//!         /// Name of a person who gets a copy.
//!         pub copy: Option<String> = "GREETING_COPY";
//!     }
//! }
//!
//! let config = Config::from_pairs([("GREETING_NAME", "moon")]);
//! let greeting = config.read_settings::<GreetingSettings>().unwrap();
//! assert_eq!(greeting.name, "moon");
//! assert_eq!(greeting.timeout, Duration::from_secs(5));
//!
//! let problems = Config::from_pairs([("GREETING_TIMEOUT", "long")]).read_settings::<GreetingSettings>().unwrap_err();
//! assert!(problems[0].to_string().contains("GREETING_TIMEOUT"));
//! ```
//!
//! A module reads its section with [`Registry::config`](crate::module::Registry::config), so that one report lists
//! the problems of all modules.
//!
//! A section that is read only with a Cargo feature names the feature, and the crate at which users turn it on. Without the
//! feature, the section has no fields, and each of its settings that is set is a problem:
//!
//! ```
//! # use omnistack_core::config::Config;
//! omnistack_core::settings! {
//!     feature "telegraph" of "acme-greetings";
//!     /// Greetings by telegraph.
//!     pub struct TelegraphSettings {
//!         /// Address of the telegraph office.
//!         pub office: Option<String> = "TELEGRAPH_OFFICE";
//!     }
//! }
//!
//! let config = Config::from_pairs([("TELEGRAPH_OFFICE", "Lyon")]);
//! let problems = config.read_settings::<TelegraphSettings>().unwrap_err();
//! let fix = "add the feature `telegraph` to `acme-greetings` in Cargo.toml, or remove TELEGRAPH_OFFICE";
//! assert!(problems[0].fix.starts_with(fix));
//! ```

mod app_settings;
mod config_file;
mod public_url;
mod reference;
mod settings;
mod source;
mod value;

pub(crate) use app_settings::AppSettings;
pub use public_url::PublicUrl;
pub use reference::reference;
pub use settings::{Setting, SettingsReader, SettingsSection};
pub use source::{Config, SettingSource};
pub use value::SettingValue;

use std::{fmt, str::FromStr};

/// The environment the app runs in: `APP_ENV`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// Migrations run at start, development secrets are accepted, and log lines are formatted as text.
    #[default]
    Development,
    /// Like [`Development`](Self::Development); for automated tests.
    Test,
    /// Secrets must be set, and migrations are run by hand.
    Production,
}

impl Environment {
    /// Returns whether development secrets and conveniences are refused.
    pub fn is_production(self) -> bool {
        self == Self::Production
    }
}

impl FromStr for Environment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "development" | "dev" => Ok(Self::Development),
            "test" => Ok(Self::Test),
            "production" | "prod" => Ok(Self::Production),
            _ => Err("expected `development`, `test` or `production`".into()),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Production => "production",
        })
    }
}

/// A problem with one setting or one file. The message names it and says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}`{}: {message}", .origin.map(|origin| format!(" (from {origin})")).unwrap_or_default())]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The name of the setting or the file.
    pub name: String,
    /// The source of the value; `None` if the setting is absent.
    pub origin: Option<SettingSource>,
    /// The problem, and what a correct value is. Never contains the value of a secret.
    pub message: String,
    /// The way to solve the problem.
    pub fix: String,
}

impl ConfigProblem {
    /// Creates a problem without a source, such as for a value that can be parsed but not used.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::of_setting(name.into(), None, message.into())
    }

    fn of_setting(name: String, origin: Option<SettingSource>, message: String) -> Self {
        let fix = format!("set {name} in the environment, .env or omnistack.toml");
        Self { name, origin, message, fix }
    }

    /// Creates a problem with a file as a whole.
    fn of_file(name: &str, message: String) -> Self {
        Self { name: name.into(), origin: None, message, fix: format!("correct {name}, or remove it") }
    }

    /// Creates a problem with a setting that is set, although the program is compiled without the feature that reads it.
    fn of_missing_feature(name: &str, origin: SettingSource, feature: &str, package: &str) -> Self {
        Self {
            name: name.into(),
            origin: Some(origin),
            message: format!("is set, but this program is compiled without the feature `{feature}`, which reads it"),
            fix: format!(
                "add the feature `{feature}` to `{package}` in Cargo.toml, or remove {name}; if it is meant for another \
                 program, start this one with `{name}=`"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
