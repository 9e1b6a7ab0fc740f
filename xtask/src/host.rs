//! The machine's environment variables, paths, users, ports and random numbers.

use std::{
    env, fs,
    io::Read,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use crate::failure::{Context, Result};

/// Returns an environment variable, or `None` if it is unset or empty.
#[expect(clippy::disallowed_methods, reason = "the only function of xtask that reads environment variables")]
pub(crate) fn env_var(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns the root of the repository that xtask was started from.
pub(crate) fn root() -> PathBuf {
    // The run-time value comes first, because a shared target folder may hold an xtask built in another checkout.
    let manifest = env_var("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&manifest).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Returns Cargo's target folder: `CARGO_TARGET_DIR`, or `target` in the repository.
pub(crate) fn target() -> PathBuf {
    let path = env_var("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&path).unwrap_or(path)
}

/// Returns the path of the first program with this name on the PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env_var("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Returns the folders `parent/prefix*`, highest version first.
pub(crate) fn versioned_folders(parent: &str, prefix: &str) -> Vec<PathBuf> {
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

/// A user id and group id to run a process as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    /// The user id.
    pub(crate) uid: u32,
    /// The id of the user's primary group.
    pub(crate) gid: u32,
}

impl User {
    /// Looks up a user by name. Returns `None` if there is no such user.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(Self { uid: id(&["-u", name])?, gid: id(&["-g", name])? })
    }
}

/// Returns whether this process runs as root.
pub(crate) fn is_root() -> bool {
    id(&["-u"]) == Some(0)
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Returns a port of 127.0.0.1 that is free at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
    Ok(listener.local_addr().context("finding a free port")?.port())
}

/// Returns 128 random bits in hexadecimal, for passwords, tokens and names of temporary folders.
pub(crate) fn random_hex() -> Result<String> {
    let mut random = [0; 16];
    let read = fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random));
    read.context("reading /dev/urandom")?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}
