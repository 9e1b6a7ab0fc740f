//! aiosmtpd: a mail server that receives mails from core, which Python's `email` package parses.

use super::PeerContext;
use crate::{command, failure::Result, report::Report};

/// Runs core's tests against it, which are ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("mail to aiosmtpd", || {
        let mut tests = super::ignored_tests("omnistack-messaging", &["email::aiosmtpd::"]);
        tests.env("TEST_PEERS_PYTHON", setting.programs.join("python"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
