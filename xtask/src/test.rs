//! `cargo xtask test`: every test, on every engine.

use std::ffi::OsString;

use crate::{command, failure::Result, host, report::Report, servers::Servers};

/// Starts the servers and runs every unit, integration and documentation test; with `nextest` arguments only the
/// tests they select.
pub(crate) fn run(nextest: &[OsString]) -> Result {
    let mut report = Report::default();
    let outcome = steps(&mut report, nextest);
    report.print();
    outcome
}

fn steps(report: &mut Report, nextest: &[OsString]) -> Result {
    let servers = Servers::start(report, false)?;

    report.step("unit and integration tests", || {
        let mut tests = command::cargo();
        if host::program("cargo-nextest").is_some() {
            // The whole workspace, being a virtual one, unless `nextest` says `--package`.
            tests.args(["nextest", "run", "--all-features"]).args(nextest);
        } else {
            eprintln!(
                "cargo-nextest is not installed: cargo test runs them, one after another and without time limits."
            );
            tests.args(["test", "--all-features", "--lib", "--bins", "--tests"]).args(nextest);
        }
        servers.tell(&mut tests);
        command::run(&mut tests)
    })?;

    if !nextest.is_empty() {
        report.note("documentation tests", "not run", "the arguments selected tests");
        return Ok(());
    }
    report.step("documentation tests", || {
        let mut tests = command::cargo();
        tests.args(["test", "--workspace", "--all-features", "--doc"]);
        servers.tell(&mut tests);
        command::run(&mut tests)
    })
}
