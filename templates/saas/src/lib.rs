//! {{project-name}}: a SaaS backend on OmniStack.

pub mod projects;

use omnistack::{app::AppBuilder, auth::Auth, email::Mail};

/// Adds the app's modules to the builder. `main` and the tests call it.
pub fn app(builder: AppBuilder) -> AppBuilder {
    builder
        .named(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .with(Auth::from_env())
        .with(Mail::default())
        .with(projects::Projects)
}
