//! Python packages in an environment of their own.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    apt, command,
    failure::{Context, Failure, Result},
    host,
};

/// What is installed together.
#[derive(Debug)]
pub(super) struct Packages {
    /// The folder under `target/peers`.
    folder: &'static str,
    /// The file under `xtask/peers`.
    file: &'static str,
    requirements: &'static str,
}

/// What most peers need.
pub(super) const PYTHON: Packages =
    Packages { folder: "python", file: "requirements.txt", requirements: include_str!("../../peers/requirements.txt") };

/// soft-webauthn, whose packages are older than the others take.
pub(super) const PASSKEYS: Packages =
    Packages { folder: "passkeys", file: "passkeys.txt", requirements: include_str!("../../peers/passkeys.txt") };

/// openapi-python-client, which needs none of the others' packages.
pub(super) const CLIENTS: Packages =
    Packages { folder: "python-client", file: "clients.txt", requirements: include_str!("../../peers/clients.txt") };

/// Installs packages into an environment of their own, and answers its folder of programs.
pub(super) fn install(&Packages { folder, file, requirements: wanted }: &Packages) -> Result<PathBuf> {
    let folder = host::target().join("peers").join(folder);
    let programs = folder.join("bin");
    let done = folder.join("requirements.installed");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    if !can_make_environments() {
        eprintln!("Python 3 with venv is not on this machine.");
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
    command::quiet(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_ok()
}
