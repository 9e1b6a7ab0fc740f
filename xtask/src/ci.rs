//! `cargo xtask ci`: runs every check that a change must pass.

use std::{path::PathBuf, process::Command};

use crate::{
    architecture, book, command,
    failure::{Failure, Result},
    host, limits,
    report::Report,
    template, test,
    tools::Tool,
    words,
};

/// The name of a check, its description, and the function that runs it and returns a note for the table.
struct Check(&'static str, &'static str, fn() -> Result<&'static str>);

const CHECKS: &[Check] = &[
    Check("fmt", "formatting", fmt),
    Check("words", "plain words in docs, messages and names", words),
    Check("architecture", "crates and their rooms import in one direction", architecture),
    Check("limits", "limits that garde checks are in the OpenAPI document", limits),
    Check("deny", "forbidden crates, licences, sources, security advisories", deny),
    Check("book", "the book under docs/, and the code that pages show", book),
    // It locks the target folder for long: what is short comes before it.
    Check("clippy", "lints, as errors", clippy),
    Check("hack", "each library with each feature alone, and with all", hack),
    Check("test", "the tests of `cargo xtask test`", || test::run(&[]).map(|()| "")),
    Check("doc", "the API documentation, warnings as errors", doc),
    Check("template", "the check of `cargo xtask template`", || template::run().map(|()| "")),
];

/// Returns the names that `--only` accepts.
pub(crate) fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|Check(name, ..)| *name).collect()
}

/// Prints the checks in order.
pub(crate) fn list() {
    for Check(name, about, _) in CHECKS {
        println!("{name:12} {about}");
    }
}

/// Runs every check, or only the named ones. Continues after a failed check, so that one run shows all failures, and
/// fails at the end.
pub(crate) fn run(only: &[String]) -> Result {
    let mut report = Report::default();
    let mut failed = Vec::new();
    for Check(name, _, run) in CHECKS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        if let Err(failure) = report.step_with_note(name, || Ok(((), run()?.to_owned()))) {
            eprintln!("{failure}");
            failed.push(*name);
        }
    }
    report.print();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} failed: run `cargo xtask ci --only NAME` to repeat a single check",
        failed.join(", ")
    )))
}

fn run_step(mut command: Command, arguments: &str) -> Result<&'static str> {
    command::run(command.args(arguments.split_whitespace())).map(|()| "")
}

fn fmt() -> Result<&'static str> {
    run_step(command::cargo(), "fmt --all --check")
}

fn words() -> Result<&'static str> {
    words::run(&host::root())
}

fn architecture() -> Result<&'static str> {
    architecture::run(&host::root())
}

fn limits() -> Result<&'static str> {
    limits::run(&host::root())
}

fn clippy() -> Result<&'static str> {
    run_step(command::cargo(), "clippy --workspace --all-targets --all-features -- -D warnings")
}

fn deny() -> Result<&'static str> {
    let deny = |arguments| run_step(Tool::DENY.command()?, arguments);
    deny("check --hide-inclusion-graph bans licenses sources")?;
    // The advisories come from a separate database, which may be unreachable.
    let fetched = deny("fetch db");
    let allowed = host::env_var(ALLOW_UNCHECKED).is_some_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    match (advisories(fetched.is_ok(), is_cached(), allowed), fetched) {
        (Advisories::Fetched, _) => deny("check advisories").map(|_| "with advisories"),
        (Advisories::Cached, _) => deny("check --disable-fetch advisories").map(|_| "with cached advisories"),
        (Advisories::Unchecked, _) => {
            eprintln!(
                "Security advisories were NOT checked: their database is unavailable, and {ALLOW_UNCHECKED} is set."
            );
            Ok("WITHOUT advisories: their database is unavailable")
        }
        (Advisories::Missing, fetched) => Err(Failure::new(format!(
            "the database of security advisories is unavailable and not cached: connect this machine, or set \
             {ALLOW_UNCHECKED}=1 to continue without it ({})",
            fetched.err().map(|failure| failure.to_string()).unwrap_or_default()
        ))),
    }
}

/// The environment variable that lets the check `deny` pass without the database of advisories.
const ALLOW_UNCHECKED: &str = "ALLOW_UNCHECKED_ADVISORIES";

/// The source of the security advisories.
#[derive(Debug, PartialEq, Eq)]
enum Advisories {
    /// The database was downloaded.
    Fetched,
    /// The database of an earlier run is used. cargo-deny rejects a database older than 90 days.
    Cached,
    /// There is no database, and `ALLOW_UNCHECKED_ADVISORIES` permits this.
    Unchecked,
    /// There is no database, and the check fails.
    Missing,
}

const fn advisories(is_fetched: bool, is_cached: bool, may_be_unchecked: bool) -> Advisories {
    match (is_fetched, is_cached, may_be_unchecked) {
        (true, ..) => Advisories::Fetched,
        (false, true, _) => Advisories::Cached,
        (false, false, true) => Advisories::Unchecked,
        (false, false, false) => Advisories::Missing,
    }
}

/// Returns whether cargo-deny has downloaded a database before: a folder with a subfolder `crates` in Cargo's home.
fn is_cached() -> bool {
    let cargo = host::env_var("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(PathBuf::from(host::env_var("HOME")?).join(".cargo")));
    let databases = cargo.and_then(|cargo| cargo.join("advisory-dbs").read_dir().ok());
    databases.into_iter().flatten().flatten().any(|database| database.path().join("crates").is_dir())
}

fn hack() -> Result<&'static str> {
    // No app does without a database, so each feature stands beside SQLite.
    let each_feature = "--each-feature --features sqlite --ignore-unknown-features";
    run_step(Tool::HACK.command()?, &format!("hack check --workspace --ignore-private {each_feature}"))?;
    // All libraries on PostgreSQL without SQLite, at once: what a crate needs of another one is checked above.
    let private = "--exclude omnistack-testkit --exclude saas --exclude quickstart --exclude book-examples --exclude bookings \
        --exclude existing --exclude xtask";
    run_step(command::cargo(), &format!("check --workspace {private} --no-default-features --features postgres"))
}

fn doc() -> Result<&'static str> {
    let mut doc = command::cargo();
    doc.env("RUSTDOCFLAGS", "-Dwarnings");
    run_step(doc, "doc --workspace --no-deps --all-features")
}

fn book() -> Result<&'static str> {
    book::check(&host::root())?;
    run_step(Tool::MDBOOK.command()?, "build docs")
}

#[cfg(test)]
mod tests {
    use super::{Advisories, advisories};

    #[test]
    fn missing_advisories_fail_unless_told_to_go_on() {
        for (is_fetched, is_cached, may_be_unchecked, expected) in [
            (true, true, true, Advisories::Fetched),
            (true, false, false, Advisories::Fetched),
            (false, true, false, Advisories::Cached),
            (false, true, true, Advisories::Cached),
            (false, false, true, Advisories::Unchecked),
            (false, false, false, Advisories::Missing),
        ] {
            assert_eq!(advisories(is_fetched, is_cached, may_be_unchecked), expected);
        }
    }
}
