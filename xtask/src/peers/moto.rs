//! moto: buckets as Amazon's, archives included; and botocore, whose signatures ours are compared with.

use super::Setting;
use crate::{command, failure::Result, report::Report};

/// The tests of storage that speak to it, which are left out everywhere else.
pub(super) fn run(setting: &Setting, report: &mut Report) -> Result {
    report.step("objects in moto, signatures of botocore", || {
        let mut tests = command::cargo();
        tests
            .args(["test", "--package", "omnistack-storage", "--all-features", "--test", "it"])
            .args(["--", "--ignored", "peers::"])
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"));
        setting.servers.tell(&mut tests);
        command::run(&mut tests)
    })
}
