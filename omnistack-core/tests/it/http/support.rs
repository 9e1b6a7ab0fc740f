//! Helpers to build apps from inline modules and to read responses.

use std::time::Duration;

use axum::body::Body;
use omnistack_core::{
    app::AppBuilder,
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestDatabase};

/// A module made of a name and a closure.
pub(super) struct InlineModule {
    name: &'static str,
    register: Box<dyn Fn(&mut Registry) + Send + Sync>,
}

pub(super) fn module(name: &'static str, register: impl Fn(&mut Registry) + Send + Sync + 'static) -> InlineModule {
    InlineModule { name, register: Box::new(register) }
}

/// Returns a module that only has routes.
pub(super) fn routes(mount: Mount, api: Api) -> InlineModule {
    module("test", move |registry| {
        registry.routes(mount.clone(), api.clone(), |_| Ok(()));
    })
}

impl Module for InlineModule {
    fn name(&self) -> &'static str {
        self.name
    }

    fn register(&self, registry: &mut Registry) {
        (self.register)(registry);
    }
}

/// Starts an app on SQLite with the modules that `assemble` adds.
pub(super) async fn start(assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(TestDatabase::sqlite(), assemble).await
}

/// Starts an app with these public routes, under `/api/v1/public`.
pub(super) async fn public(api: Api) -> TestApp {
    start(|app| app.with(routes(Mount::public(""), api))).await
}

/// Returns a body that is sent in pieces, without a content length.
pub(super) fn pieces<const N: usize>(pieces: [&'static [u8]; N]) -> Body {
    Body::from_stream(futures_util::stream::iter(pieces.map(Ok::<_, std::io::Error>)))
}

/// Waits for a future. Panics after a time that no working machine needs.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it should have happened long ago")
}
