//! Installs Node packages under `target/peers`.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    command,
    failure::{Context, Failure, Result},
    host,
};

/// A set of packages that is installed in one folder under `target/peers`, with its manifest and lock file.
#[derive(Debug)]
pub(super) struct NodePackages {
    folder: &'static str,
    manifest: &'static str,
    lock: &'static str,
}

/// The packages of most peers.
const COMMON: NodePackages = NodePackages {
    folder: "node",
    manifest: include_str!("../../peers/node/package.json"),
    lock: include_str!("../../peers/node/package-lock.json"),
};

/// Azurite, which has more dependencies than all other peers together.
pub(super) const AZURITE: NodePackages = NodePackages {
    folder: "azurite",
    manifest: include_str!("../../peers/azurite/package.json"),
    lock: include_str!("../../peers/azurite/package-lock.json"),
};

/// The generators of TypeScript clients, which need no packages of other peers.
pub(super) const CLIENTS: NodePackages = NodePackages {
    folder: "clients",
    manifest: include_str!("../../peers/clients/package.json"),
    lock: include_str!("../../peers/clients/package-lock.json"),
};

/// The libraries of providers that send webhooks.
pub(super) const WEBHOOKS: NodePackages = NodePackages {
    folder: "webhooks-node",
    manifest: include_str!("../../peers/webhooks/package.json"),
    lock: include_str!("../../peers/webhooks/package-lock.json"),
};

/// PayPal's and Razorpay's clients.
pub(super) const PAYMENT_SDKS: NodePackages = NodePackages {
    folder: "payment-sdks-node",
    manifest: include_str!("../../peers/payment_sdks/package.json"),
    lock: include_str!("../../peers/payment_sdks/package-lock.json"),
};

/// The clients of realtime, and the libraries of the server beside which it is measured.
const REALTIME: NodePackages = NodePackages {
    folder: "realtime-node",
    manifest: include_str!("../../peers/realtime/package.json"),
    lock: include_str!("../../peers/realtime/package-lock.json"),
};

/// The clients of models and tools, and a mock of providers.
pub(super) const AI: NodePackages = NodePackages {
    folder: "ai-node",
    manifest: include_str!("../../peers/ai/package.json"),
    lock: include_str!("../../peers/ai/package-lock.json"),
};

/// The gateway Portkey.
pub(super) const AI_GATEWAYS: NodePackages = NodePackages {
    folder: "ai-gateways-node",
    manifest: include_str!("../../peers/ai_gateways/package.json"),
    lock: include_str!("../../peers/ai_gateways/package-lock.json"),
};

/// The types of Grafana's boards and the TypeScript compiler.
pub(super) const GRAFANA: NodePackages = NodePackages {
    folder: "grafana",
    manifest: include_str!("../../peers/grafana/package.json"),
    lock: include_str!("../../peers/grafana/package-lock.json"),
};

/// The driver of a browser, and the client that the app serves to browsers.
pub(super) const BROWSER: NodePackages = NodePackages {
    folder: "browser",
    manifest: include_str!("../../peers/browser/package.json"),
    lock: include_str!("../../peers/browser/package-lock.json"),
};

/// Returns whether Node and npm are installed.
pub(crate) fn is_installed() -> bool {
    host::find_program("node").is_some() && host::find_program("npm").is_some()
}

/// Installs the packages of most peers and returns their folder. Fails without Node and npm.
pub(super) fn install_common_packages() -> Result<PathBuf> {
    install_packages(&COMMON)
}

/// Installs a set of packages and returns its folder. Fails without Node and npm.
pub(super) fn install_packages(&NodePackages { folder, manifest, lock }: &NodePackages) -> Result<PathBuf> {
    if !is_installed() {
        return Err(Failure::new("Node or npm is missing: install both with the system's packages"));
    }
    let folder = host::target().join("peers").join(folder);
    let done = folder.join("package-lock.installed");
    if !fs::read_to_string(&done).is_ok_and(|installed| installed == lock) {
        fs::create_dir_all(&folder).context(format_args!("creating {}", folder.display()))?;
        for (name, text) in [("package.json", manifest), ("package-lock.json", lock)] {
            fs::write(folder.join(name), text).context(format_args!("writing {name}"))?;
        }
        // Installation scripts of packages are not trusted, so they don't run.
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
        command::run(npm.current_dir(&folder))?;
        fs::write(&done, lock).context(format_args!("writing {}", done.display()))?;
    }
    Ok(folder)
}

/// Installs the packages, copies the folder `xtask/peers/node/{scripts}` beside them, where Node finds packages, and
/// returns the copy's path.
pub(crate) fn install_with_scripts(scripts: &str) -> Result<PathBuf> {
    let folder = install_common_packages()?;
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

/// Installs the packages of realtime, copies its scripts beside them, and returns their folder.
pub(crate) fn install_realtime() -> Result<PathBuf> {
    let folder = install_packages(&REALTIME)?;
    for script in ["clients.mjs", "server.mjs"] {
        let from = host::root().join("xtask/peers/realtime").join(script);
        fs::copy(&from, folder.join(script)).context(format_args!("copying {}", from.display()))?;
    }
    Ok(folder)
}

/// Returns the command that runs a script of the folder with Node.
pub(crate) fn script(folder: &std::path::Path, name: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(folder.join(name));
    node
}
