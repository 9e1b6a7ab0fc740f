//! Storage services: moto as Amazon S3 (including archives) and as Google Cloud Storage; s3s-fs and Azurite, which
//! verify every signature; botocore and Cloudinary's package, to compare signatures.

use std::fs;

use super::{PeerContext, node};
use crate::{
    command,
    failure::{Context, Result},
    host,
    report::Report,
    tools::Tool,
};

/// Runs storage's tests against them, which are ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let s3s = report.step_with_note("install s3s-fs", || {
        Tool::S3S.program().map(|program| (program.clone(), program.display().to_string()))
    })?;
    let azurite = report.step_with_note("install Azurite", || {
        let folder = node::install_packages(&node::AZURITE)?;
        // Node finds the packages beside the script.
        let script = host::root().join("xtask/peers/azurite/serve.mjs");
        fs::copy(&script, folder.join("serve.mjs")).context(format_args!("copying {}", script.display()))?;
        Ok((folder.clone(), folder.display().to_string()))
    })?;
    report.step("objects in moto, s3s-fs and Azurite, signatures of botocore and Cloudinary", || {
        let mut tests = super::ignored_tests("omnistack-storage", &["peers::"]);
        tests
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"))
            .env("TEST_PEERS_S3S", &s3s)
            .env("TEST_PEERS_AZURITE", &azurite);
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
