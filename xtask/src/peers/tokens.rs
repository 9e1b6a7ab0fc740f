//! jose, joserfc and oidc-provider: tokens and keys of others, and others who verify ours.

use super::{Setting, node};
use crate::{
    command,
    failure::{Failure, Result},
    report::Report,
};

/// The auth crate's tests that speak to them, which are left out everywhere else.
pub(super) fn run(setting: &Setting, report: &mut Report) -> Result {
    let scripts = report.step("install Node's packages", || match node::found() {
        true => node::install("tokens"),
        false => Err(Failure::new("these peers need Node and npm: install them with the system's packages")),
    })?;
    report.step("tokens of jose, joserfc and oidc-provider", || {
        let mut tests = command::cargo();
        tests
            .args(["test", "--package", "omnistack-auth", "--all-features", "--test", "it"])
            .args(["--", "--ignored", "issuers::peers::"])
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"))
            .env("TEST_PEERS_TOKENS", &scripts);
        setting.servers.tell(&mut tests);
        command::run(&mut tests)
    })
}
