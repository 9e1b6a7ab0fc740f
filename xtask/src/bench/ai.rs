//! Installs what the benchmark of the AI gateway measures beside the app's: other gateways, and PostgreSQL with
//! pgvector.

use std::{path::PathBuf, process::Command};

use crate::{failure::Result, host, peers::ai, report::Report, servers::Servers};

/// The environment variable with the script that starts TensorZero's gateway.
const TENSORZERO_SCRIPT: &str = "BENCH_AI_TENSORZERO_SCRIPT";

/// The function that installs a gateway and returns its program or script.
type Install = fn() -> Result<PathBuf>;

/// Sets the programs of other gateways. The benchmark says which ones are missing, and this prints why.
#[expect(clippy::unnecessary_wraps, reason = "the function of another benchmark fails")]
pub(super) fn set_environment(bench: &mut Command) -> Result {
    let gateways: [(&str, Install); 3] = [
        ("BENCH_AI_LITELLM", ai::install_litellm),
        ("BENCH_AI_TENSORZERO", ai::install_tensorzero),
        ("BENCH_AI_PORTKEY", ai::install_portkey),
    ];
    for (variable, install) in gateways {
        match install() {
            Ok(program) => {
                bench.env(variable, program);
            }
            Err(failure) => {
                bench.env_remove(variable);
                eprintln!("{variable} is not measured: {failure}");
            }
        }
    }
    bench.env(TENSORZERO_SCRIPT, host::root().join("xtask/peers/ai_gateways/tensorzero_gateway.py"));
    Ok(())
}

/// Starts PostgreSQL with pgvector, which waits for the disk at each commit. Returns `None`, and prints why, if it can't
/// be installed or started.
pub(super) fn start_servers(report: &mut Report) -> Option<Servers> {
    let started = ai::install_pgvector().and_then(|programs| Servers::start_with_pgvector(report, &programs, true));
    started.inspect_err(|failure| eprintln!("pgvector is not measured: {failure}")).ok()
}
