//! soft-webauthn: a software authenticator that creates passkeys and signs in with them.

use super::PeerContext;
use crate::{command, failure::Result, report::Report};

/// Runs auth's test against it, which is ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("passkeys of soft-webauthn", || {
        let mut tests = super::ignored_tests("omnistack-auth", &["passkeys::peer::"]);
        tests.env("TEST_PEERS_PYTHON", setting.programs.join("python"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
