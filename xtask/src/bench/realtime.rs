//! Installs the server beside which the benchmark of realtime measures the app's.

use std::process::Command;

use crate::{failure::Result, peers::node};

/// Sets the path of the server's script. Without Node, the benchmark says that it is missing.
pub(super) fn set_environment(bench: &mut Command) -> Result {
    if node::is_installed() {
        bench.env("BENCH_REALTIME_WS", node::install_realtime()?.join("server.mjs"));
    }
    Ok(())
}
