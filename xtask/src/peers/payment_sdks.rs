//! PayPal's and Razorpay's own clients, in Python and Node, against the wire fakes of both.

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
    let folder = report.step_with_note("install Node's clients for payments", || {
        let folder = node::install_packages(&node::PAYMENT_SDKS)?;
        // Node finds packages beside the script.
        let from = host::root().join("xtask/peers/payment_sdks/payment_sdks.mjs");
        fs::copy(&from, folder.join("payment_sdks.mjs")).context(format_args!("copying {}", from.display()))?;
        Ok((folder.clone(), folder.display().to_string()))
    })?;
    report.step("PayPal's and Razorpay's clients against the wire fakes", || {
        let mut tests = super::ignored_tests("omnistack-payments", &["payment_sdks::"]);
        tests
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"))
            .env("TEST_PEERS_PAYMENT_SDKS", folder.join("payment_sdks.mjs"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
