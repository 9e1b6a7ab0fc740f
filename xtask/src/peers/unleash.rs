//! Unleash's client specification: test cases of flag evaluation in files.

use super::PeerContext;
use crate::{command, failure::Result, report::Report};

/// Runs core's test that reads the files, which is ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("flags of Unleash's client specification", || {
        let mut tests = super::ignored_tests("omnistack-flags", &["specification::"]);
        tests.env("TEST_PEERS_UNLEASH", setting.programs.join("node_modules/@unleash/client-specification"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
