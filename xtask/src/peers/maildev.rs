//! maildev: a mail server that returns the received mails as JSON.

use super::PeerContext;
use crate::{command, failure::Result, report::Report};

/// Runs core's test against it, which is ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("mail to maildev", || {
        let mut tests = super::ignored_tests("omnistack-messaging", &["email::maildev::"]);
        tests.env("TEST_PEERS_MAILDEV", setting.programs.join("node_modules/maildev/dist/bin/maildev.js"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
