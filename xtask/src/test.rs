//! `cargo xtask test`: runs every test on every database.

use std::ffi::OsString;

use crate::{command, failure::Result, host, report::Report, servers::Servers};

/// Starts the servers and runs every unit, integration and documentation test. With `nextest` arguments, runs only
/// the unit and integration tests they select. Fails if a test fails.
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
        if host::find_program("cargo-nextest").is_some() {
            // Without `--package` this runs the whole workspace, because it is a virtual one.
            tests.args(["nextest", "run", "--all-features"]).args(nextest);
        } else {
            eprintln!(
                "cargo-nextest is not installed: cargo test runs one test program after another, without time limits."
            );
            tests.args(["test", "--all-features", "--lib", "--bins", "--tests"]).args(nextest);
        }
        servers.set_environment(&mut tests);
        command::run(&mut tests)
    })?;

    if !nextest.is_empty() {
        report.note("documentation tests", "not run", "the arguments selected tests");
        return Ok(());
    }
    report.step("documentation tests", || {
        let mut tests = command::cargo();
        tests.args(["test", "--workspace", "--all-features", "--doc"]);
        servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
