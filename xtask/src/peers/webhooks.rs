//! The providers' own libraries for webhooks, in Python and Node: stripe, standardwebhooks, svix, razorpay, twilio and
//! octokit.

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
    let script = report.step_with_note("install Node's libraries for webhooks", || {
        let folder = node::install_packages(&node::WEBHOOKS)?;
        // Node finds packages beside the script.
        let (from, to) = (host::root().join("xtask/peers/webhooks/webhooks.mjs"), folder.join("webhooks.mjs"));
        fs::copy(&from, &to).context(format_args!("copying {}", from.display()))?;
        Ok((to.clone(), to.display().to_string()))
    })?;
    report.step("webhooks of the providers' libraries, in and out", || {
        let mut tests = command::cargo();
        tests
            .args(["test", "--package", "omnistack-webhooks", "--all-features", "--test", "it"])
            .args(["--", "--ignored", "peers::"])
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"))
            .env("TEST_PEERS_WEBHOOKS", &script);
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
