//! `cargo xtask bench`: runs benchmarks and writes their tables into `docs/benchmarks.md`.

mod ai;
mod jobs;
mod realtime;
mod webhooks;

use std::{fs, process::Command};

use crate::{
    book, command,
    failure::{Context, Failure, Result},
    host,
    report::Report,
    servers::Servers,
};

/// A benchmark of the workspace. It prints each table between `<!-- begin NAME -->` and `<!-- end NAME -->`.
#[derive(Debug)]
pub(crate) struct Benchmark {
    /// The names of its bench targets.
    benches: &'static [&'static str],
    /// Whether it needs PostgreSQL and Redis.
    servers: bool,
    /// Whether it needs PostgreSQL with pgvector.
    pgvector: bool,
    /// The name of the section to which rows of other implementations are added, and the function that measures them.
    peers: Option<(&'static str, fn(&Servers) -> Result<String>)>,
    /// A program to build with the profile `dist`. The benchmark gets its path in `DIST_PROGRAM`.
    dist: Option<&'static str>,
    /// Sets the environment variables by which the benchmark finds programs of others, and installs these.
    environment: Option<fn(&mut Command) -> Result>,
}

impl Benchmark {
    const DEFAULT: Self =
        Self { benches: &[], servers: false, pgvector: false, peers: None, dist: None, environment: None };

    /// The HTTP stack compared with a bare axum handler, and the idle program.
    pub(crate) const HTTP: Self = Self { benches: &["http"], dist: Some("saas"), ..Self::DEFAULT };
    /// `Db` compared with plain sqlx.
    pub(crate) const DB: Self = Self { benches: &["db"], servers: true, ..Self::DEFAULT };
    /// Lists with up to a million rows on both databases.
    pub(crate) const LISTS: Self = Self { benches: &["lists"], servers: true, ..Self::DEFAULT };
    /// The job queue on both databases, and other job queues on PostgreSQL.
    pub(crate) const JOBS: Self =
        Self { benches: &["jobs"], servers: true, peers: Some(("jobs-peers", jobs::rows)), ..Self::DEFAULT };

    /// Authentication of callers.
    pub(crate) const AUTH: Self = Self { benches: &["tokens"], ..Self::DEFAULT };
    /// The cache in the process and on Redis.
    pub(crate) const CACHE: Self = Self { benches: &["cache"], servers: true, ..Self::DEFAULT };
    /// Uploads compared with a plain copy, and signed URLs.
    pub(crate) const FILES: Self = Self { benches: &["files"], ..Self::DEFAULT };
    /// Evaluating feature flags.
    pub(crate) const FLAGS: Self = Self { benches: &["flags"], ..Self::DEFAULT };
    /// Observing a request, beside other crates for the same.
    pub(crate) const OBSERVABILITY: Self = Self { benches: &["requests"], ..Self::DEFAULT };
    /// Recording usage, summaries of it, entitlements and quotas. `BENCH_LARGE=1` adds runs among ten and a hundred million events.
    pub(crate) const USAGE: Self = Self { benches: &["usage"], servers: true, ..Self::DEFAULT };
    /// Our time in a payment. `BENCH_LARGE=1` adds 10,000 requests a minute for ten minutes.
    pub(crate) const PAYMENTS: Self = Self { benches: &["payments"], servers: true, ..Self::DEFAULT };
    /// Finalising invoices on both databases.
    pub(crate) const INVOICES: Self = Self { benches: &["invoices"], servers: true, ..Self::DEFAULT };
    /// Receiving and sending webhooks, and sending them by BullMQ.
    pub(crate) const WEBHOOKS: Self = Self {
        benches: &["webhooks"],
        servers: true,
        peers: Some(("webhooks-peers", webhooks::rows)),
        ..Self::DEFAULT
    };
    /// Connections of clients: idle ones, many subscribers, several replicas, and clients that reconnect together; and
    /// npm's ws beside them.
    pub(crate) const REALTIME: Self =
        Self { benches: &["realtime"], servers: true, environment: Some(realtime::set_environment), ..Self::DEFAULT };
    /// The time that the AI gateway adds to a call of a model, other gateways beside it, and searches by vectors.
    pub(crate) const AI: Self = Self {
        benches: &["gateway", "vectors"],
        pgvector: true,
        environment: Some(ai::set_environment),
        ..Self::DEFAULT
    };
    /// Rate limits in the process and on Redis.
    pub(crate) const LIMIT: Self = Self { benches: &["limit"], servers: true, ..Self::DEFAULT };

    fn run(&self, servers: Option<&Servers>) -> Result<String> {
        let mut bench = command::cargo();
        // With all features of the whole workspace, the benchmarks share their compiled dependencies.
        bench.args(["bench", "--workspace", "--all-features"]);
        bench.args(self.benches.iter().flat_map(|name| ["--bench", name]));
        if let Some(servers) = servers {
            servers.set_environment(&mut bench);
        }
        if let Some(program) = self.dist {
            command::run(command::cargo().args(["build", "--profile", "dist", "-p", program]))?;
            bench.env("DIST_PROGRAM", host::target().join("dist").join(program));
        }
        if let Some(set_environment) = self.environment {
            set_environment(&mut bench)?;
        }
        command::capture(&mut bench)
    }
}

/// Runs the benchmarks, prints their tables, and replaces the tables of the previous run in `docs/benchmarks.md`.
/// Fails if a benchmark fails or prints no table.
pub(crate) fn run(benches: &[Benchmark]) -> Result {
    let mut report = Report::default();
    let servers = benches.iter().any(|bench| bench.servers).then(|| Servers::start(&mut report, true)).transpose()?;
    let mut fresh = vec![machine()?];
    for bench in benches {
        let own_servers = if bench.pgvector { ai::start_servers(&mut report) } else { None };
        let printed = bench.run(own_servers.as_ref().or(servers.as_ref().filter(|_| bench.servers)))?;
        let found = sections(&printed);
        if found.is_empty() {
            return Err(Failure::new(
                "the benchmark printed no table between `<!-- begin NAME -->` and `<!-- end NAME -->`",
            ));
        }
        fresh.extend(found);
        if let (Some((name, rows)), Some(servers)) = (bench.peers, &servers) {
            let rows = rows(servers)?;
            let section = fresh.iter_mut().find(|section| section.name == name);
            let section = section.ok_or_else(|| Failure::new(format!("the benchmark printed no section `{name}`")))?;
            section.body = format!("{}\n{rows}", section.body);
        }
    }

    let path = host::root().join("docs/benchmarks.md");
    let page = fs::read_to_string(&path).unwrap_or_else(|_| "# Benchmarks\n".to_owned());
    let page = fresh.iter().fold(page, |page, section| section.replace_in(&page));
    fs::write(&path, page).context(format_args!("writing {}", path.display()))?;
    // The book shows the page.
    book::write(&host::root())?;
    for section in &fresh {
        println!("\n{}", section.body.trim());
    }
    eprintln!("\nWritten to {}", path.display());
    Ok(())
}

/// A part of a page that a run replaces: in `docs/benchmarks.md`, or in a chapter with measured tables.
#[derive(Debug, PartialEq)]
pub(crate) struct PageSection {
    /// The name in its markers.
    pub(crate) name: String,
    /// The text between them.
    pub(crate) body: String,
}

impl PageSection {
    /// Returns the page with the section of this name replaced by this one, or with this one appended.
    pub(crate) fn replace_in(&self, page: &str) -> String {
        let (begin, end) = (format!("<!-- begin {} -->", self.name), format!("<!-- end {} -->", self.name));
        let section = format!("{begin}\n{}\n{end}", self.body.trim_matches('\n'));
        let old = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
        match old {
            Some((before, after)) => format!("{before}{section}{after}"),
            None => format!("{}\n\n{section}\n", page.trim_end()),
        }
    }
}

/// Returns the sections in a benchmark's output.
fn sections(printed: &str) -> Vec<PageSection> {
    printed
        .split("<!-- begin ")
        .skip(1)
        .filter_map(|part| {
            let (name, rest) = part.split_once(" -->")?;
            let (body, _) = rest.split_once(&format!("<!-- end {name} -->"))?;
            Some(PageSection { name: name.to_owned(), body: body.trim_matches('\n').to_owned() })
        })
        .collect()
}

/// Returns a section that describes the machine, the compiler and the optimisation.
fn machine() -> Result<PageSection> {
    let cores = std::thread::available_parallelism().context("counting cores")?;
    let rustc = command::output_of(Command::new("rustc").arg("--version"))?;
    let version = rustc.split_whitespace().nth(1).unwrap_or_default();
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    let body = format!("{cores} cores, {os} on {architecture}, rustc {version}, profile `bench`.");
    Ok(PageSection { name: "machine".to_owned(), body })
}

#[cfg(test)]
mod tests;
