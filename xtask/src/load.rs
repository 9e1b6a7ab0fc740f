//! `cargo xtask load`: six kinds of users load the release build of `examples/saas`, by Locust.

mod deployment;
mod results;
mod verdict;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use self::{
    deployment::Deployment,
    results::{LoadWindow, Tally},
    verdict::{LoadLimits, ProcessMemory},
};
use crate::{
    clock::{self, Stopwatch},
    command,
    failure::{Failure, Result},
    folder::TempFolder,
    host, peers,
    report::Report,
    servers::Servers,
    supervise::{SupervisedCommand, SupervisedProcess},
};

/// The file of the results, in Locust's folder.
const RESULTS: &str = "results.ndjson";
/// The rows of the table over time.
const ROWS: u64 = 15;
/// The time between two samples of memory.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// The failures that are printed.
const MAX_PRINTED_FAILURES: usize = 20;

/// The course of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadProfile {
    /// A steady load for some minutes.
    Smoke,
    /// A load that grows to ten times as many users and returns.
    Spike,
    /// A steady load, long enough to see memory grow.
    Soak,
}

impl LoadProfile {
    /// Returns the profile with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Smoke, Self::Spike, Self::Soak].into_iter().find(|profile| profile.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Spike => "spike",
            Self::Soak => "soak",
        }
    }

    /// Returns the minutes and the requests a minute, unless the command names others.
    fn defaults(self) -> (u64, u64) {
        match self {
            Self::Smoke => (3, 10_000),
            // Ten times as many fit on the machine that also runs the load.
            Self::Spike => (4, 3_000),
            Self::Soak => (30, 10_000),
        }
    }
}

/// A load to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadPlan {
    profile: LoadProfile,
    minutes: u64,
    limits: LoadLimits,
    postgres: bool,
    redis: bool,
}

impl LoadPlan {
    /// Creates a plan. `length` and `rate`, the minutes and the requests a minute, have defaults. `max_errors` is a
    /// percentage, `max_p99` are milliseconds.
    pub(crate) fn new(
        profile: LoadProfile,
        (length, rate): (Option<u64>, Option<u64>),
        (max_errors, max_p99): (f64, f64),
    ) -> Self {
        let (default_minutes, default_rate) = profile.defaults();
        Self {
            profile,
            minutes: length.unwrap_or(default_minutes),
            limits: LoadLimits { rate: rate.unwrap_or(default_rate), max_errors, max_p99 },
            postgres: false,
            redis: false,
        }
    }

    /// Chooses PostgreSQL, Redis or both in place of the embedded defaults.
    #[must_use]
    pub(crate) fn on_servers(mut self, postgres: bool, redis: bool) -> Self {
        (self.postgres, self.redis) = (postgres, redis);
        self
    }

    /// Returns whether two replicas and a worker run. They need both servers.
    fn has_replicas(&self) -> bool {
        self.postgres && self.redis
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.minutes * 60)
    }
}

/// Builds the app, starts it, sends the load and prints what came of it. Fails if a limit was exceeded.
pub(crate) fn run(plan: &LoadPlan) -> Result {
    let mut report = Report::default();
    let locust = report.step_with_note("install Locust", || {
        peers::load::install_locust().map(|program| (program.clone(), program.display().to_string()))
    })?;
    report.step("build examples/saas", || command::run(command::cargo().args(["build", "--release", "-p", "saas"])))?;
    let servers = (plan.postgres || plan.redis).then(|| Servers::start(&mut report, true)).transpose()?;
    let app = Deployment::start(&host::target().join("release/saas"), plan, servers)?;
    let (windows, memory) = send(&locust, plan, &app)?;
    print_kinds(&windows);
    print_memory(&memory);
    let wrong = verdict::judge(plan.profile, plan.limits, plan.minutes * 60, &windows, &memory);
    if wrong.is_empty() {
        println!("\nAll limits were kept.");
        return Ok(());
    }
    Err(app.with_log(&Failure::new(wrong.join("\n"))))
}

/// Sends the load and prints a table over time. Returns what Locust has recorded, and the memory of the app's
/// processes.
fn send(locust: &Path, plan: &LoadPlan, app: &Deployment) -> Result<(Vec<LoadWindow>, Vec<ProcessMemory>)> {
    let mut load = SupervisedCommand::new(locust, TempFolder::create("locust")?, "TERM");
    load.command
        .arg("--locustfile")
        .arg(host::root().join("xtask/peers/load/locustfile.py"))
        .args(["--headless", "--only-summary", "--stop-timeout", "30", "--exit-code-on-error", "0"])
        .envs([("PYTHONDONTWRITEBYTECODE", "1"), ("LOAD_PROFILE", plan.profile.name()), ("LOAD_RESULTS", RESULTS)])
        .envs([("LOAD_WEBHOOK_SECRET", deployment::WEBHOOK_SECRET), ("LOAD_OPERATOR_TOKEN", app.operator_token())])
        .env("LOAD_HOSTS", app.hosts())
        .env("LOAD_RATE", plan.limits.rate.to_string())
        .env("LOAD_SECONDS", plan.length().as_secs().to_string());
    let load = load.start()?;
    let mut memory: Vec<ProcessMemory> =
        app.memory().into_iter().map(|(name, _)| ProcessMemory { name, samples: Vec::new() }).collect();
    let names = memory.iter().map(|process| process.name).collect::<Vec<_>>().join(", ");
    println!("\n| minute | requests a minute | p50 ms | p95 ms | p99 ms | failed | refused | memory of {names} |");
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");

    let watch = Stopwatch::start();
    let (mut seconds, mut rows, mut printed) = (0, 1, 0);
    let interval = (plan.length().as_secs() / ROWS).max(results::SECONDS_PER_WINDOW);
    // Locust needs a while before the first request.
    let limit = plan.length() + Duration::from_secs(300);
    while load.exit_code().is_none() {
        seconds += 1;
        clock::wait_until(watch, SAMPLE_INTERVAL * seconds);
        for (process, (_, sample)) in memory.iter_mut().zip(app.memory()) {
            process.samples.push(sample);
        }
        if watch.elapsed().as_secs() >= rows * interval {
            rows += 1;
            let windows = windows(&load);
            let written = windows.last().map_or(0, |window| window.end);
            if written > printed {
                print_row(&windows, printed, written, &memory);
                printed = written;
            }
        }
        if watch.elapsed() > limit {
            return Err(Failure::new(format!("Locust does not end:\n{}", load.log_tail())));
        }
    }
    match load.exit_code() {
        Some(0) => Ok((windows(&load), memory)),
        code => Err(app.with_log(&Failure::new(format!(
            "Locust ended with code {}:\n{}",
            code.unwrap_or_default(),
            load.log_tail()
        )))),
    }
}

fn windows(load: &SupervisedProcess) -> Vec<LoadWindow> {
    results::parse(&fs::read_to_string(load.file(RESULTS)).unwrap_or_default())
}

/// Prints what was sent between two times, and the memory at the end.
fn print_row(windows: &[LoadWindow], from: u64, to: u64, memory: &[ProcessMemory]) {
    let part = results::between(windows, from, to);
    let a_minute = part.requests * 60 / (to - from).max(1);
    let sizes = memory.iter().map(|process| shown(process.samples.last().copied().flatten())).collect::<Vec<_>>();
    println!(
        "| {:.1} | {a_minute} | {} | {} | {} | {} |",
        to as f64 / 60.0,
        times(&part),
        part.failed,
        part.refused(),
        sizes.join(", ")
    );
}

fn times(tally: &Tally) -> String {
    [50, 95, 99].map(|percent| format!("{:.1}", tally.percentile(percent))).join(" | ")
}

fn shown(mebibytes: Option<f64>) -> String {
    mebibytes.map_or_else(|| "–".to_owned(), |mebibytes| format!("{mebibytes:.1} MiB"))
}

/// Prints a table with a row for each kind of user, and the failures.
fn print_kinds(windows: &[LoadWindow]) {
    println!("\n| kind of user | requests | p50 ms | p95 ms | p99 ms | failed | refused |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let kinds = results::by_kind(windows);
    let all = Tally::sum(kinds.values());
    for (kind, tally) in kinds.iter().map(|(kind, tally)| (*kind, tally)).chain([("all", &all)]) {
        println!("| {kind} | {} | {} | {} | {} |", tally.requests, times(tally), tally.failed, tally.refused());
    }
    print_counts("refused with Retry-After", &all.refused);
    print_counts("failed", &all.failures);
}

fn print_counts(what: &str, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        return;
    }
    println!("\n{what}:");
    for (reason, count) in counts.iter().take(MAX_PRINTED_FAILURES) {
        println!("{count:>8}  {reason}");
    }
    if counts.len() > MAX_PRINTED_FAILURES {
        println!("          and {} others", counts.len() - MAX_PRINTED_FAILURES);
    }
}

/// Prints a table of the median of the resident memory in each quarter of the time.
fn print_memory(memory: &[ProcessMemory]) {
    println!("\n| resident memory, median of | quarter 1 | quarter 2 | quarter 3 | quarter 4 |");
    println!("|---|---:|---:|---:|---:|");
    for ProcessMemory { name, samples } in memory {
        let quarter = samples.len() / 4;
        let medians = (0..4).map(|number| {
            let end = if number == 3 { samples.len() } else { (number + 1) * quarter };
            shown(verdict::median(&samples[number * quarter..end]))
        });
        println!("| {name} | {} |", medians.collect::<Vec<_>>().join(" | "));
    }
}

#[cfg(test)]
mod tests;
