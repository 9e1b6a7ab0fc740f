//! Which process carries a request out, and whether it is known to be dead.

use std::{fmt, fs, io::ErrorKind, path::Path};

/// A process, named so that no other ever has its name: the boot of its machine, its namespace of process ids, the id, and
/// when it was started. Only Linux tells.
pub(super) struct Process {
    /// Where the id means this process: boot and namespace.
    place: String,
    id: u32,
    started: String,
}

impl Process {
    /// Names this process; `None` where that can't be told.
    pub(super) fn own() -> Option<Self> {
        let id = std::process::id();
        // A `/proc` of another namespace has other ids.
        if fs::read_link("/proc/self").ok()? != Path::new(&id.to_string()) {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let place = format!("{}/{}", boot.trim(), namespace.to_str()?);
        let started = started(&fs::read_to_string("/proc/self/stat").ok()?)?;
        Some(Self { place, id, started })
    }

    /// Whether a process of this name was one of the same place, and is no more.
    pub(super) fn is_dead(&self, name: &str) -> bool {
        let mut parts = name.rsplitn(3, '/');
        let (Some(then), Some(id), Some(place)) = (parts.next(), parts.next(), parts.next()) else { return false };
        // Where the first process is hidden, others are too.
        if place != self.place || id.parse::<u32>().is_err() || !Path::new("/proc/1/stat").exists() {
            return false;
        }
        match fs::read_to_string(format!("/proc/{id}/stat")) {
            Ok(stat) => started(&stat).is_none_or(|now| now != then),
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.place, self.id, self.started)
    }
}

/// Reads from `/proc/PID/stat` when the process was started (proc(5), field 22), unless it has ended.
fn started(stat: &str) -> Option<String> {
    // Field 2 is the program's name in parentheses, and may hold any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let is_over = matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| !is_over).map(str::to_owned)
}
