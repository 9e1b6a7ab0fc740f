//! The free part of the disk under a SQLite database.

use std::{io, path::Path};

/// The free part of a disk, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FreeDisk {
    space: u64,
    /// `None` if the file system has no fixed number of inodes, or the operating system does not tell it.
    inodes: Option<u64>,
}

impl FreeDisk {
    /// Returns what is free on the disk of a folder, or `None` if the operating system does not tell it.
    #[cfg(unix)]
    pub(super) fn of(folder: &Path) -> io::Result<Option<Self>> {
        let disk = rustix::fs::statvfs(folder)?;
        let inodes = percent(disk.f_favail, disk.f_files);
        Ok(percent(disk.f_bavail, disk.f_blocks).map(|space| Self { space, inodes }))
    }

    /// Returns what is free on the disk of a folder, or `None` if the operating system does not tell it.
    #[cfg(not(unix))]
    pub(super) fn of(_: &Path) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Returns the text of the alarm if less is free than this percentage.
    pub(super) fn alarm(self, min_percent: u32) -> Option<String> {
        let min_percent = u64::from(min_percent);
        if self.space < min_percent {
            return Some(format!("{} % of the disk's space is free", self.space));
        }
        let inodes = self.inodes.filter(|inodes| *inodes < min_percent)?;
        Some(format!("{inodes} % of the disk's inodes are free: it has too many files"))
    }
}

#[cfg(unix)]
fn percent(free: u64, all: u64) -> Option<u64> {
    free.saturating_mul(100).checked_div(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_of_a_folder_is_measured() {
        let free = FreeDisk::of(&std::env::temp_dir()).unwrap();
        assert!(
            free.is_none_or(|free| free.space <= 100 && free.inodes.is_none_or(|inodes| inodes <= 100)),
            "{free:?}"
        );
        assert!(FreeDisk::of(Path::new("/a folder/that does not/exist")).is_err());
    }

    #[test]
    fn little_space_and_few_inodes_raise_an_alarm() {
        let disk = |space, inodes| FreeDisk { space, inodes };
        assert_eq!(disk(5, Some(5)).alarm(5), None);
        assert_eq!(disk(50, None).alarm(5), None);
        assert!(disk(4, Some(50)).alarm(5).unwrap().contains("space"));
        assert!(disk(50, Some(4)).alarm(5).unwrap().contains("inodes"));
        assert_eq!(disk(0, Some(0)).alarm(0), None, "off");
    }
}
