//! The providers' own libraries for webhooks, in Python and Node: stripe, standardwebhooks, svix, razorpay, twilio,
//! app-store-server-library and octokit; PyNaCl for signatures `v1a`; and the receivers of the book.

use std::fs;

use super::{PeerContext, node};
use crate::{
    command,
    failure::{Context, Result},
    host,
    report::Report,
};

/// Runs the tests of `omnistack-webhooks` against them, which are ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let folder = report.step_with_note("install Node's libraries for webhooks", || {
        let folder = node::install_packages(&node::WEBHOOKS)?;
        // Node finds packages beside the scripts.
        for script in ["webhooks.mjs", "receiver.mjs"] {
            let from = host::root().join("xtask/peers/webhooks").join(script);
            fs::copy(&from, folder.join(script)).context(format_args!("copying {}", from.display()))?;
        }
        Ok((folder.clone(), folder.display().to_string()))
    })?;
    report.step("webhooks of the providers' libraries, in and out", || {
        let mut tests = super::ignored_tests("omnistack-webhooks", &["peers::"]);
        tests
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"))
            .env("TEST_PEERS_WEBHOOKS", folder.join("webhooks.mjs"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
