//! Node packages in a folder of their own.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    command,
    failure::{Context, Failure, Result},
    host,
};

/// What is installed together: a folder under `target/peers`, with its manifest and lock.
#[derive(Debug)]
pub(super) struct Packages {
    folder: &'static str,
    manifest: &'static str,
    lock: &'static str,
}

/// What most peers need.
const NODE: Packages = Packages {
    folder: "node",
    manifest: include_str!("../../peers/node/package.json"),
    lock: include_str!("../../peers/node/package-lock.json"),
};

/// Azurite, which brings more packages than all others.
pub(super) const AZURITE: Packages = Packages {
    folder: "azurite",
    manifest: include_str!("../../peers/azurite/package.json"),
    lock: include_str!("../../peers/azurite/package-lock.json"),
};

/// Makers of clients, which are at home on Node and need no other peer's packages.
pub(super) const CLIENTS: Packages = Packages {
    folder: "clients",
    manifest: include_str!("../../peers/clients/package.json"),
    lock: include_str!("../../peers/clients/package-lock.json"),
};

/// Whether Node and npm are on this machine.
pub(crate) fn found() -> bool {
    host::program("node").is_some() && host::program("npm").is_some()
}

/// Installs what `peers/node` pins into `target/peers/node`, and answers where that is.
pub(super) fn packages() -> Result<PathBuf> {
    fetch(&NODE)
}

/// Installs packages into a folder of their own, and answers where that is.
pub(super) fn fetch(&Packages { folder, manifest, lock }: &Packages) -> Result<PathBuf> {
    if !found() {
        return Err(Failure::new("this needs Node and npm: install them with the system's packages"));
    }
    let folder = host::target().join("peers").join(folder);
    let done = folder.join("package-lock.installed");
    if !fs::read_to_string(&done).is_ok_and(|installed| installed == lock) {
        fs::create_dir_all(&folder).context(format_args!("creating {}", folder.display()))?;
        for (name, text) in [("package.json", manifest), ("package-lock.json", lock)] {
            fs::write(folder.join(name), text).context(format_args!("writing {name}"))?;
        }
        // No package's own scripts: they are programs to be read, not to be trusted with a machine.
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
        command::run(npm.current_dir(&folder))?;
        fs::write(&done, lock).context(format_args!("writing {}", done.display()))?;
    }
    Ok(folder)
}

/// Installs the packages, puts a folder of our scripts beside them, where Node looks for packages, and answers where that is.
pub(crate) fn install(scripts: &str) -> Result<PathBuf> {
    let folder = packages()?;
    let (from, to) = (host::root().join("xtask/peers/node").join(scripts), folder.join(scripts));
    fs::create_dir_all(&to).context(format_args!("creating {}", to.display()))?;
    let entries = fs::read_dir(&from).context(format_args!("reading {}", from.display()))?;
    for entry in entries {
        let entry = entry.context(format_args!("reading {}", from.display()))?;
        fs::copy(entry.path(), to.join(entry.file_name()))
            .context(format_args!("copying {}", entry.path().display()))?;
    }
    Ok(to)
}

/// A script of that folder, ready to be run.
pub(crate) fn script(folder: &std::path::Path, name: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(folder.join(name));
    node
}
