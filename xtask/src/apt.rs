//! Packages of Debian and Ubuntu.

use std::process::Command;

use crate::{command, failure::Result, host};

/// Installs packages when this may do so: as root, where there is `apt-get`. Answers whether it did.
pub(crate) fn install(packages: &[&str]) -> Result<bool> {
    if !host::is_root() || host::program("apt-get").is_none() {
        return Ok(false);
    }
    command::run(Command::new("apt-get").args(["update", "--quiet"]))?;
    command::run(
        Command::new("apt-get")
            .args(["install", "--quiet", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // The maintenance runlevel: packages leave services stopped. One that starts all the same is not used.
            .env("RUNLEVEL", "1"),
    )?;
    Ok(true)
}
