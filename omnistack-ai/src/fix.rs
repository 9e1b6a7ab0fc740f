//! Fixes of code: a model proposes a patch for a finding, a user or a rule approves it, and a code host gets it.
//!
//! Each fix has a ledger: its events, each with the hash of the one before it. The row of the fix is the state that the
//! events add up to, and both are written in one transaction. A patch that does not apply or breaks the policy is
//! never proposed, and nothing is applied unless the ledger proves the approval of exactly this patch.

mod code_host;
mod deliver;
mod generate;
mod ledger;
mod model;
mod patch;
mod policy;
mod prompt;
mod retention;
mod routes;
mod service;
mod settings;
mod state;
mod store;

use std::sync::Arc;

use omnistack_core::{
    db::Db,
    identity::Authenticator,
    jobs::Cron,
    module::{Mount, Registry},
};

#[cfg(feature = "github")]
pub use code_host::GitHub;
pub use code_host::{
    CodeBranch, CodeChange, CodeFile, CodeHost, CodeHostError, CodeHostErrorKind, FakeCodeHost, FakePullRequest,
    NewPullRequest, PullRequest,
};

use code_host::CodeHosts;
use deliver::DeliverFix;
use generate::GenerateFix;
use retention::{EndSilentFixes, PurgeFixes};
use service::{FixParts, Fixes};
use settings::FixSettings;

/// Largest request, in bytes: a file and what describes it.
const MAX_REQUEST_BYTES: u64 = 4 * 1024 * 1024;

/// Registers findings and fixes, their jobs and their routes. Without a code host from the app, that of the settings is
/// used; outside production, without one in the settings, the fake.
pub(crate) fn register(registry: &mut Registry, host: Option<Arc<dyn CodeHost>>) {
    let Some(settings) = registry.config::<FixSettings>() else { return };
    let hosts = CodeHosts::new(host.or_else(|| host_of_settings(registry)));
    let clock = registry.clock();
    registry
        .tenant_tables(["omni_ai_fix_events", "omni_ai_fixes", "omni_ai_fix_findings"])
        .permissions(["fixes:read", "fixes:write", "fixes:approve", "fixes:apply"])
        .provide_from(move |ctx| {
            Ok(Fixes(Arc::new(FixParts {
                // Fixes are the app's, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                jobs: ctx.get()?,
                realtime: ctx.get()?,
                audit: ctx.get()?,
                gateway: ctx.get()?,
                usage: ctx.get()?,
                entitlements: ctx.get()?,
                hosts: hosts.clone(),
                policy: settings.policy(),
                settings: settings.clone(),
            })))
        })
        .job::<GenerateFix>(|ctx| ctx.get::<Fixes>())
        .job::<DeliverFix>(|ctx| ctx.get::<Fixes>())
        .job::<PurgeFixes>(|ctx| ctx.get::<Fixes>())
        .cron(Cron::new("29 4 * * *", PurgeFixes {}))
        .job::<EndSilentFixes>(|ctx| ctx.get::<Fixes>())
        .cron(Cron::new("47 * * * *", EndSilentFixes {}))
        .after_modules(|registry| {
            if registry.provides::<Authenticator>() {
                let mount = Mount::app("/fixes").permissions("fixes").body_limit(MAX_REQUEST_BYTES);
                registry.routes(mount, routes::api(), |ctx| ctx.get::<Fixes>());
            }
        });
}

/// Returns the code host of the settings, or the fake outside production.
fn host_of_settings(registry: &mut Registry) -> Option<Arc<dyn CodeHost>> {
    let settings = registry.config::<code_host::GitHubSettings>()?;
    #[cfg(feature = "github")]
    if let Some(github) = GitHub::from_settings(registry, settings) {
        return Some(Arc::new(github));
    }
    #[cfg(not(feature = "github"))]
    let _ = settings;
    let host: Arc<dyn CodeHost> = Arc::new(FakeCodeHost::new());
    (!registry.environment().is_production()).then_some(host)
}
