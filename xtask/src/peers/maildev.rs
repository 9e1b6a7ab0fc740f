//! maildev: a mail server that shows what it received, as JSON.

use super::Setting;
use crate::{command, failure::Result, report::Report};

/// Core's test that speaks to it, which is left out everywhere else.
pub(super) fn run(setting: &Setting, report: &mut Report) -> Result {
    report.step("mail to maildev", || {
        let mut tests = command::cargo();
        tests
            .args(["test", "--package", "omnistack-core", "--all-features", "--test", "it"])
            .args(["--", "--ignored", "email::maildev::"])
            .env("TEST_PEERS_MAILDEV", setting.programs.join("node_modules/maildev/dist/bin/maildev.js"));
        setting.servers.tell(&mut tests);
        command::run(&mut tests)
    })
}
