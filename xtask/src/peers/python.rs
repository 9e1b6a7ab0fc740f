//! Installs Python packages in virtual environments under `target/peers`.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    apt, command,
    failure::{Context, Failure, Result},
    host,
};

/// A set of packages that is installed in one virtual environment.
#[derive(Debug)]
pub(super) struct PythonPackages {
    /// The folder under `target/peers`.
    folder: &'static str,
    /// The file under `xtask/peers`.
    file: &'static str,
    requirements: &'static str,
}

/// The packages of most peers.
pub(super) const PYTHON: PythonPackages = PythonPackages {
    folder: "python",
    file: "requirements.txt",
    requirements: include_str!("../../peers/requirements.txt"),
};

/// soft-webauthn, whose dependencies are older than those of the other peers.
pub(super) const PASSKEYS: PythonPackages =
    PythonPackages { folder: "passkeys", file: "passkeys.txt", requirements: include_str!("../../peers/passkeys.txt") };

/// The receivers of traces, metrics and errors.
pub(super) const TELEMETRY: PythonPackages = PythonPackages {
    folder: "telemetry",
    file: "telemetry.txt",
    requirements: include_str!("../../peers/telemetry.txt"),
};

/// The libraries of providers that send webhooks, and localstripe.
pub(super) const WEBHOOKS: PythonPackages =
    PythonPackages { folder: "webhooks", file: "webhooks.txt", requirements: include_str!("../../peers/webhooks.txt") };

/// PayPal's and Razorpay's clients.
pub(super) const PAYMENT_SDKS: PythonPackages = PythonPackages {
    folder: "payment-sdks",
    file: "payment_sdks.txt",
    requirements: include_str!("../../peers/payment_sdks.txt"),
};

/// The readers of invoices.
pub(super) const INVOICES: PythonPackages =
    PythonPackages { folder: "invoices", file: "invoices.txt", requirements: include_str!("../../peers/invoices.txt") };

/// The clients of realtime.
pub(super) const REALTIME: PythonPackages =
    PythonPackages { folder: "realtime", file: "realtime.txt", requirements: include_str!("../../peers/realtime.txt") };

/// The providers' own clients of models.
pub(super) const AI: PythonPackages =
    PythonPackages { folder: "ai", file: "ai.txt", requirements: include_str!("../../peers/ai.txt") };

/// The load tool Locust.
pub(super) const LOAD: PythonPackages =
    PythonPackages { folder: "load", file: "load.txt", requirements: include_str!("../../peers/load.txt") };

/// A PostgreSQL server with pgvector.
pub(super) const PGVECTOR: PythonPackages =
    PythonPackages { folder: "pgvector", file: "pgvector.txt", requirements: include_str!("../../peers/pgvector.txt") };

/// The gateway LiteLLM.
pub(super) const LITELLM: PythonPackages =
    PythonPackages { folder: "litellm", file: "litellm.txt", requirements: include_str!("../../peers/litellm.txt") };

/// The gateway TensorZero.
pub(super) const TENSORZERO: PythonPackages = PythonPackages {
    folder: "tensorzero",
    file: "tensorzero.txt",
    requirements: include_str!("../../peers/tensorzero.txt"),
};

/// openapi-python-client, which needs no packages of other peers.
pub(super) const CLIENTS: PythonPackages = PythonPackages {
    folder: "python-client",
    file: "clients.txt",
    requirements: include_str!("../../peers/clients.txt"),
};

/// The validators of the files of deployments.
pub(super) const DEPLOY: PythonPackages =
    PythonPackages { folder: "deploy", file: "deploy.txt", requirements: include_str!("../../peers/deploy.txt") };

/// Installs a set of packages in a new virtual environment and returns the folder of its programs. Fails if Python 3
/// with venv is neither installed nor installable.
pub(super) fn install(&PythonPackages { folder, file, requirements: wanted }: &PythonPackages) -> Result<PathBuf> {
    let folder = host::target().join("peers").join(folder);
    let programs = folder.join("bin");
    let done = folder.join("requirements.installed");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    if !can_make_environments() {
        eprintln!("Python 3 with venv is not installed.");
        if !apt::install(&["python3", "python3-venv"])? || !can_make_environments() {
            return Err(Failure::new(
                "peers need Python 3 with venv: install it with the system's packages (on Debian and Ubuntu: \
                 `apt-get install python3 python3-venv`)",
            ));
        }
    }
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let requirements = host::root().join("xtask/peers").join(file);
    command::run(
        Command::new(programs.join("python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(requirements),
    )?;
    fs::write(&done, wanted).context(format_args!("writing {}", done.display()))?;
    Ok(programs)
}

fn can_make_environments() -> bool {
    command::output_of(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_ok()
}
