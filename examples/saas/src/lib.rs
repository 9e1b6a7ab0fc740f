//! The general SaaS backend, everything wired.

pub mod projects;

use omnistack::{app::AppBuilder, prelude::*};
use projects::Projects;

/// The app, as `main` runs it and the tests drive it.
pub fn app(builder: AppBuilder) -> AppBuilder {
    builder.named("Acme", env!("CARGO_PKG_VERSION")).with(DevIdentity::default()).with(Projects)
}
