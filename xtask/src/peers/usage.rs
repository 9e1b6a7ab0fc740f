//! DuckDB: the sums of usage, from what an app was sent.

use super::PeerContext;
use crate::{command, failure::Result, report::Report};

/// Runs billing's tests against it, which are ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("sums of usage of DuckDB", || {
        let mut tests = super::ignored_tests("omnistack-billing", &["peers::"]);
        tests.env("TEST_PEERS_PYTHON", setting.programs.join("python"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
