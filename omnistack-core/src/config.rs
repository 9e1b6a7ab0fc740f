//! Typed settings from `.env`, `omnistack.toml` and the environment.
//!
//! Every setting has one name, the one its environment variable has. In `omnistack.toml` the same name may be
//! written as a path: `[http] body_limit = "2MiB"` is `HTTP_BODY_LIMIT`. Sources are read in rising order, so a later
//! one wins: `.env`, then `omnistack.toml`, then the environment. An empty value counts as absent.
//!
//! Settings are declared where they are used, with [`section!`](crate::section), which also makes the
//! configuration reference from the same lines:
//!
//! ```
//! use omnistack_core::config::Config;
//! use std::time::Duration;
//!
//! omnistack_core::section! {
//!     /// Greetings.
//!     pub struct GreetingSettings {
//!         /// Who is greeted.
//!         pub name: String = "GREETING_NAME", default "world";
//!         /// How long a greeting may take.
//!         pub patience: Duration = "GREETING_PATIENCE", default "5s", range "1s"..="1m";
//!         /// Whom to copy, if anybody.
//!         pub copy: Option<String> = "GREETING_COPY";
//!     }
//! }
//!
//! let config = Config::from_pairs([("GREETING_NAME", "moon")]);
//! let greeting = config.section::<GreetingSettings>().unwrap();
//! assert_eq!(greeting.name, "moon");
//! assert_eq!(greeting.patience, Duration::from_secs(5));
//!
//! let problems = Config::from_pairs([("GREETING_PATIENCE", "long")]).section::<GreetingSettings>().unwrap_err();
//! assert!(problems[0].to_string().contains("GREETING_PATIENCE"));
//! ```
//!
//! A module reads its section with [`Registry::config`](crate::app::Registry::config), so that the problems of all
//! modules come in one report.

mod form;
mod public_url;
mod reference;
mod section;
mod source;

pub use form::Form;
pub use public_url::PublicUrl;
pub use reference::reference;
pub use section::{Reader, Section, Setting};
pub use source::{Config, Origin};

use std::{fmt, str::FromStr};

/// Where the app runs: `APP_ENV`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// Migrations run at start, development secrets are accepted, log lines are for people.
    #[default]
    Development,
    /// As development; for tests.
    Test,
    /// Nothing is assumed: secrets must be set and schema changes are run by hand.
    Production,
}

impl Environment {
    /// Whether development secrets and conveniences are refused.
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

/// One thing wrong with one setting, in words that name it and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}`{}: {message}", .origin.map(|origin| format!(" (from {origin})")).unwrap_or_default())]
pub struct ConfigProblem {
    /// The setting, or the file.
    pub name: String,
    /// Where its value was found, if anywhere.
    pub origin: Option<Origin>,
    /// What is wrong and what would be right. Never holds the value of a secret.
    pub message: String,
}

impl ConfigProblem {
    /// A problem with a setting whose value reads well but can't be used.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), origin: None, message: message.into() }
    }

    /// Whether a file is wrong as a whole, and not one setting.
    pub(crate) fn is_file(&self) -> bool {
        [Origin::DotEnv, Origin::Toml].iter().any(|file| file.to_string() == self.name)
    }
}

#[cfg(test)]
mod tests;
