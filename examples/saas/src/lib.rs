//! The general SaaS backend, everything wired.

pub mod projects;

use omnistack::{app::AppBuilder, auth::Auth, email::Mail};
use projects::Projects;

/// The app, as `main` runs it and the tests drive it.
pub fn app(builder: AppBuilder) -> AppBuilder {
    builder.named("Acme", env!("CARGO_PKG_VERSION")).with(Auth::from_env()).with(Mail::default()).with(Projects)
}
