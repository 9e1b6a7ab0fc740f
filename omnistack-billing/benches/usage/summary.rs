//! The summary of a year.

use std::time::Instant;

use omnistack_core::{
    clock::Clock,
    id::Id,
    identity::{Entitlements, Identity, Permissions, TenantId},
};
use omnistack_testkit::TestApp;

use crate::{Latencies, METERS};

pub(crate) const PATH: &str = "/api/v1/app/usage/summary?period=1y";
/// Number of requests.
pub(crate) const REQUESTS: usize = 200;

/// Requests the summary of a year, each time of another tenant. Their plans are in memory, as those of tenants that
/// send requests are.
pub(crate) async fn measure(app: &TestApp, tenants: &[TenantId]) -> Latencies {
    let entitlements: Entitlements = app.app().context().get().unwrap();
    let mut durations = Vec::new();
    for tenant in tenants.iter().step_by(tenants.len() / REQUESTS) {
        let caller = Identity::user(Id::new(Clock::system().now())).with_permissions(Permissions::all());
        let client = app.client_as(caller.for_tenant(*tenant));
        entitlements.plan(*tenant).await.unwrap();
        let began = Instant::now();
        let response = client.get(PATH).await;
        durations.push(began.elapsed());
        let summary = response.expect_ok().json();
        assert_eq!(summary["meters"].as_array().map(Vec::len), Some(METERS.len()), "{summary}");
    }
    Latencies::new(durations)
}
