//! Clients of realtime in Python and Node: centrifuge over WebSocket and SSE, centrifuge-python, websockets, and frames
//! of wsproto.

use super::{PeerContext, node};
use crate::{command, failure::Result, report::Report};

/// Runs the tests of `omnistack-realtime` against them, which are ignored in other runs.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let folder = report.step_with_note("install Node's clients of realtime", || {
        node::install_realtime().map(|folder| (folder.clone(), folder.display().to_string()))
    })?;
    report.step("realtime with stock clients, and with frames that no client sends", || {
        let mut tests = super::ignored_tests("omnistack-realtime", &["peers::"]);
        tests.env("TEST_PEERS_PYTHON", setting.programs.join("python")).env("TEST_PEERS_REALTIME", &folder);
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}
