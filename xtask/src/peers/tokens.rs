//! jose, joserfc and oidc-provider: tokens and keys that OmniStack verifies, and programs that verify OmniStack's.
//! pyotp: TOTP codes.

use super::{PeerContext, node};
use crate::{
    command,
    failure::{Failure, Result},
    report::Report,
};

/// Runs auth's tests against them, which are ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let scripts = report.step_with_note("install Node's packages", || {
        if !node::is_installed() {
            return Err(Failure::new("Node or npm is missing: install both with the system's packages"));
        }
        node::install_with_scripts("tokens").map(|folder| (folder.clone(), folder.display().to_string()))
    })?;
    report.step("tokens of jose, joserfc and oidc-provider, codes of pyotp", || {
        let mut tests = super::ignored_tests("omnistack-auth", &["issuers::peers::", "social::peers::", "pyotp"]);
        tests.env("TEST_PEERS_PYTHON", setting.programs.join("python")).env("TEST_PEERS_TOKENS", &scripts);
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
