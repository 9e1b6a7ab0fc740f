//! factur-x with Saxon, pypdf and pdftotext: they read the documents of invoices.

use super::PeerContext;
use crate::{apt, command, failure::Result, host, report::Report};

/// Runs billing's tests against them, which are ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    report.step("invoices read by factur-x, pypdf and pdftotext", || {
        if host::find_program("pdftotext").is_none() {
            apt::install(&["poppler-utils"])?;
        }
        let mut tests = super::ignored_tests("omnistack-billing", &["invoice::readers::"]);
        tests.env("TEST_PEERS_PYTHON", setting.programs.join("python"));
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
