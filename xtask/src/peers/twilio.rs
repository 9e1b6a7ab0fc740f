//! Twilio's SDK for Python: webhook signatures.

use super::PeerContext;
use crate::{command, failure::Result, report::Report};

/// Runs core's test against it, which is ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("signatures of Twilio's SDK", || {
        let mut tests = super::ignored_tests("omnistack-messaging", &["sms::peer::"]);
        tests.env("TEST_PEERS_PYTHON", setting.programs.join("python"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
