//! Detection of claims whose process is dead.

use std::{fmt, fs, io::ErrorKind, path::Path};

/// A unique name of a process: the boot id of its machine, its namespace of process ids, its process id and its start
/// time. Available on Linux only.
pub(crate) struct ProcessName {
    /// The scope in which the process id is valid: boot id and namespace.
    namespace: String,
    id: u32,
    started: String,
}

impl ProcessName {
    /// Returns this process. Returns `None` if the operating system does not provide the parts of the name.
    pub(crate) fn own() -> Option<Self> {
        let id = std::process::id();
        // A `/proc` of another namespace shows other process ids.
        if fs::read_link("/proc/self").ok()? != Path::new(&id.to_string()) {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let place = format!("{}/{}", boot.trim(), namespace.to_str()?);
        let started = started(&fs::read_to_string("/proc/self/stat").ok()?)?;
        Some(Self { namespace: place, id, started })
    }

    /// Returns whether a process with this name ran on the same machine and in the same namespace, and has ended.
    pub(crate) fn is_dead(&self, name: &str) -> bool {
        let mut parts = name.rsplitn(3, '/');
        let (Some(then), Some(id), Some(place)) = (parts.next(), parts.next(), parts.next()) else { return false };
        // If the first process is hidden, other processes are hidden too.
        if place != self.namespace || id.parse::<u32>().is_err() || !Path::new("/proc/1/stat").exists() {
            return false;
        }
        match fs::read_to_string(format!("/proc/{id}/stat")) {
            Ok(stat) => started(&stat).is_none_or(|now| now != then),
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.id, self.started)
    }
}

/// Returns the start time from `/proc/PID/stat` (proc(5), field 22). Returns `None` if the process has ended.
fn started(stat: &str) -> Option<String> {
    // Field 2 is the program's name in parentheses, and may contain any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let is_over = matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| !is_over).map(str::to_owned)
}
