//! What the machine gives: environment, paths, users, ports, randomness.

use std::{
    env, fs,
    io::Read,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use crate::failure::{Context, Result};

/// An environment variable that is set to something.
#[expect(clippy::disallowed_methods, reason = "xtask's only home for reading the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The repository this was started from.
pub(crate) fn root() -> PathBuf {
    // At run time first: a build shared between checkouts may have been compiled in another one.
    let manifest = variable("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&manifest).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Cargo's target folder, `CARGO_TARGET_DIR` respected.
pub(crate) fn target() -> PathBuf {
    let path = variable("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&path).unwrap_or(path)
}

/// The first program of that name on the PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    env::split_paths(&variable("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The folders `parent/prefix*`, the highest version first.
pub(crate) fn versions(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let digits: String = name.strip_prefix(prefix)?.chars().filter(char::is_ascii_digit).collect();
            Some((digits.parse().unwrap_or(0), entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// A user and group number a process can run as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    /// The user's number.
    pub(crate) uid: u32,
    /// The number of the user's first group.
    pub(crate) gid: u32,
}

impl User {
    /// Looks a user up by name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(Self { uid: id(&["-u", name])?, gid: id(&["-g", name])? })
    }
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    id(&["-u"]) == Some(0)
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// A loopback port nobody listens on at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
    Ok(listener.local_addr().context("finding a free port")?.port())
}

/// 128 unpredictable bits in hexadecimal: passwords, tokens, names of temporary folders.
pub(crate) fn random_hex() -> Result<String> {
    let mut random = [0; 16];
    let read = fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random));
    read.context("reading /dev/urandom")?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}
