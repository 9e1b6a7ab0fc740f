//! Measures other job queues on the same PostgreSQL server.

use crate::{command, failure::Result, peers::node, servers::Servers};

/// The number of jobs per run and of runs, equal to those in `omnistack-core/benches/jobs.rs`.
const LOAD: [(&str, &str); 2] = [("JOBS", "50000"), ("RUNS", "3")];

/// The description of each queue and its script in `xtask/peers/node/jobs`.
const PEERS: [(&str, &str); 2] = [
    ("graphile-worker 0.18.0: 24 at once, a local queue of 2,000, completions in batches", "graphile-worker.mjs"),
    ("pg-boss 12.38.0: four workers, batches of 1,000 without a pause", "pg-boss.mjs"),
];

/// Returns a table row for each queue: jobs per second run and acknowledged, and enqueued in one batch. A row says so
/// if Node is missing or the script fails.
pub(super) fn rows(servers: &Servers) -> Result<String> {
    let folder = if node::is_installed() { Some(node::install_with_scripts("jobs")?) } else { None };
    let row = |(name, script): (&str, &str)| {
        let measured = folder.as_ref().map(|folder| {
            let mut node = node::script(folder, script);
            node.envs(LOAD).env("DATABASE_URL", &servers.postgres.url);
            command::capture(&mut node).inspect_err(|failure| eprintln!("{failure}"))
        });
        let cells = match &measured {
            None => "node not found | node not found".to_owned(),
            Some(Err(_)) => "failed | failed".to_owned(),
            Some(Ok(printed)) => {
                let (enqueued, ran) = printed.trim().split_once(' ').unwrap_or((printed.trim(), "?"));
                format!("{ran} | {enqueued}")
            }
        };
        format!("| {name} | {cells} |")
    };
    Ok(PEERS.map(row).join("\n"))
}
