//! Installs packages of Debian and Ubuntu.

use std::process::Command;

use crate::{command, failure::Result, host};

/// Installs packages with `apt-get`. Returns `false`, without installing, if this process is not root or there is no
/// `apt-get`.
pub(crate) fn install(packages: &[&str]) -> Result<bool> {
    if !host::is_root() || host::find_program("apt-get").is_none() {
        return Ok(false);
    }
    command::run(Command::new("apt-get").args(["update", "--quiet"]))?;
    command::run(
        Command::new("apt-get")
            .args(["install", "--quiet", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // In the maintenance runlevel, packages don't start services. A service that starts anyway is not used.
            .env("RUNLEVEL", "1"),
    )?;
    Ok(true)
}
