//! Receivers of traces, metrics and errors: rotel, opentelemetry-proto, py_zipkin and Bugsink.

use super::PeerContext;
use crate::{command, failure::Result, report::Report};

/// Runs the tests of `omnistack-observability` against them, which are ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("traces, metrics and errors to their receivers", || {
        let mut tests = super::ignored_tests("omnistack-observability", &["peers::"]);
        // One after another: they measure the load of the machine.
        tests.args(["--test-threads", "1"]).env("TEST_PEERS_PYTHON", setting.programs.join("python"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
