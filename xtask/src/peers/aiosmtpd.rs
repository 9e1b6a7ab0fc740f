//! aiosmtpd: a mail server that receives what core sends, read by Python's own `email` package.

use super::Setting;
use crate::{command, failure::Result, report::Report};

/// Core's tests that speak to it, which are left out everywhere else.
pub(super) fn run(setting: &Setting, report: &mut Report) -> Result {
    report.step("mail to aiosmtpd", || {
        let mut tests = command::cargo();
        tests
            .args(["test", "--package", "omnistack-core", "--all-features", "--test", "it"])
            .args(["--", "--ignored", "email::aiosmtpd::"])
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"));
        setting.servers.tell(&mut tests);
        command::run(&mut tests)
    })
}
