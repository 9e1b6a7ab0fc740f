//! {{project-name}}: a SaaS backend on OmniStack.

pub mod projects;

use omnistack::{app::AppBuilder, prelude::*};

/// The app, as `main` runs it and the tests drive it.
pub fn app(builder: AppBuilder) -> AppBuilder {
    builder
        .named(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .with(DevIdentity::default())
        .with(projects::Projects)
}
