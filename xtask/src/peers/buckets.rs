//! Buckets: moto, as Amazon's, archives included; s3s-fs, which looks at every signature; and botocore, whose signatures ours are
//! compared with.

use super::Setting;
use crate::{command, failure::Result, report::Report, tools::Tool};

/// The tests of storage that speak to them, which are left out everywhere else.
pub(super) fn run(setting: &Setting, report: &mut Report) -> Result {
    let s3s = report.step_with_note("install s3s-fs", || {
        Tool::S3S.program().map(|program| (program.clone(), program.display().to_string()))
    })?;
    report.step("objects in moto and s3s-fs, signatures of botocore", || {
        let mut tests = command::cargo();
        tests
            .args(["test", "--package", "omnistack-storage", "--all-features", "--test", "it"])
            .args(["--", "--ignored", "peers::"])
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"))
            .env("TEST_PEERS_S3S", &s3s);
        setting.servers.tell(&mut tests);
        command::run(&mut tests)
    })
}
