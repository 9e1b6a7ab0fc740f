//! The processes of `examples/saas` that a load is for.

use std::path::Path;

use super::{LoadPlan, LoadProfile};
use crate::{
    app::{self, App},
    failure::{Failure, Result},
    folder::TempFolder,
    servers::Servers,
    supervise::SupervisedProcess,
};

/// The secret of the webhooks that the load sends.
pub(super) const WEBHOOK_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The running processes of the app, which end when this is dropped.
#[derive(Debug)]
pub(super) struct Deployment {
    first: App,
    /// The other processes, with their names for the tables.
    others: Vec<(&'static str, SupervisedProcess)>,
    ports: Vec<u16>,
    // Dropped after the processes.
    _files: TempFolder,
    _servers: Option<Servers>,
}

impl Deployment {
    /// Starts the app as the plan says: one process, or with both servers two replicas and a worker. The servers of the
    /// plan are in `servers`.
    pub(super) fn start(binary: &Path, plan: &LoadPlan, servers: Option<Servers>) -> Result<Self> {
        let files = TempFolder::create("load-files")?;
        let directory = files.path().display().to_string();
        let rate_limit = rate_limit(plan);
        let mut settings = vec![
            // Mails with links have no reader here.
            ("AUTH_VERIFIED_EMAIL", "false"),
            ("HTTP_RATE_LIMIT", rate_limit.as_str()),
            ("STORAGE_DIRECTORY", directory.as_str()),
            // The load says which address each of its clients has.
            ("TRUSTED_PROXIES", "127.0.0.1/32"),
            ("WEBHOOKS_STANDARD_SECRETS", WEBHOOK_SECRET),
        ];
        if let Some(servers) = &servers {
            if plan.postgres {
                settings.push(("DATABASE_URL", servers.postgres.url.as_str()));
            }
            if plan.redis {
                settings.push(("REDIS_URL", servers.redis.url.as_str()));
            }
        }
        let mut others = Vec::new();
        let mut ports = Vec::new();
        let first = if plan.has_replicas() {
            settings.extend([("JOBS_IN_SERVE", "false"), ("PUBLIC_URL", "http://127.0.0.1:8080")]);
            let first = App::start(binary, &settings)?;
            let (second, port) = app::serve(binary, &settings)?;
            ports.push(port);
            others.push(("replica 2", second));
            others.push(("worker", app::work(binary, &settings)?));
            first
        } else {
            App::start(binary, &settings)?
        };
        ports.push(first.port);
        Ok(Self { first, others, ports, _files: files, _servers: servers })
    }

    /// Returns the addresses of the processes that serve, separated by commas.
    pub(super) fn hosts(&self) -> String {
        let hosts: Vec<String> = self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        hosts.join(",")
    }

    /// Returns an access token of an operator.
    pub(super) fn operator_token(&self) -> &str {
        self.first.token()
    }

    /// Returns the names of the processes and their resident memory in MiB, while they run.
    pub(super) fn memory(&self) -> Vec<(&'static str, Option<f64>)> {
        let name = if self.others.is_empty() { "saas" } else { "replica 1" };
        let first = (name, self.first.process().resident_memory());
        let others = self.others.iter().map(|(name, process)| (*name, process.resident_memory()));
        std::iter::once(first).chain(others).collect()
    }

    /// Returns the failure with the end of the first process's log.
    pub(super) fn with_log(&self, failure: &Failure) -> Failure {
        self.first.with_log(failure)
    }
}

/// Returns the limit of requests of one address. It is the default, except in a spike: the users with API keys then
/// have one address together, whose limit is between what they send before the spike and what they send in it.
fn rate_limit(plan: &LoadPlan) -> String {
    match plan.profile {
        LoadProfile::Smoke | LoadProfile::Soak => "6000/minute".to_owned(),
        LoadProfile::Spike => format!("{}/minute burst {}", plan.limits.rate, (plan.limits.rate / 20).max(10)),
    }
}
