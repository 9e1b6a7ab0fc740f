//! Tests of feature flags: evaluation, administration and updates of replicas.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic")]

mod callers;
mod evaluation;
mod operators;
mod replicas;
mod specification;

use omnistack_core::{app::AppBuilder, id::Id, identity::Identity};
use omnistack_flags::{FeatureFlags, FlagDefinition, Flags};
use omnistack_testkit::{TestApp, TestDatabase};
use uuid::Uuid;

pub(crate) const ADMIN: &str = "/api/v1/admin/feature-flags";
pub(crate) const SEGMENTS: &str = "/api/v1/admin/feature-segments";
pub(crate) const APP: &str = "/api/v1/app/feature-flags";

pub(crate) async fn app(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| more(app.with(FeatureFlags::default()))).await
}

pub(crate) fn flags(app: &TestApp) -> Flags {
    app.app().context().get().unwrap()
}

pub(crate) fn operator() -> Identity {
    Identity::user(Id::from_uuid(Uuid::new_v4())).into_operator()
}

pub(crate) async fn make(app: &TestApp, flag: FlagDefinition) {
    flags(app).create(flag, &operator()).await.unwrap();
}
