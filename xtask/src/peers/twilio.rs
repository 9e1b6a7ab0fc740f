//! Twilio's SDK for Python: signatures of webhooks.

use super::Setting;
use crate::{command, failure::Result, report::Report};

/// Core's test that asks it, which is left out everywhere else.
pub(super) fn run(setting: &Setting, report: &mut Report) -> Result {
    report.step("signatures of Twilio's SDK", || {
        let mut tests = command::cargo();
        tests
            .args(["test", "--package", "omnistack-core", "--all-features", "--test", "it"])
            .args(["--", "--ignored", "sms::peer::"])
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"));
        setting.servers.tell(&mut tests);
        command::run(&mut tests)
    })
}
