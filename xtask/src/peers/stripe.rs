//! Stripe's own libraries for Python and Node, which drive the fake of the testkit, and localstripe, another
//! fake of Stripe, behind the client of `omnistack-payments`.

use std::fs;

use super::{PeerContext, node};
use crate::{
    command,
    failure::{Context, Result},
    host,
    report::Report,
};

/// Runs the tests of `omnistack-payments` against them, which are ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let script = report.step_with_note("install Stripe's library for Node", || {
        let folder = node::install_packages(&node::WEBHOOKS)?;
        // Node finds packages beside the script.
        let from = host::root().join("xtask/peers/payments/stripe_client.mjs");
        let script = folder.join("stripe_client.mjs");
        fs::copy(&from, &script).context(format_args!("copying {}", from.display()))?;
        Ok((script.clone(), script.display().to_string()))
    })?;
    report.step("Stripe's libraries and localstripe", || {
        let mut tests = super::ignored_tests("omnistack-payments", &["stripe::peers::"]);
        tests
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"))
            .env("TEST_PEERS_STRIPE", &script)
            .env("TEST_PEERS_LOCALSTRIPE", setting.programs.join("localstripe"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
