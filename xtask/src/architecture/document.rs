//! [`Document`], the lists of crates and rooms in `docs/ARCHITECTURE.md`.

use std::collections::HashMap;

/// The page that lists the crates and the rooms.
pub(super) const DOCUMENT_PATH: &str = "docs/ARCHITECTURE.md";

/// The heading above the table of crates, whose columns are the level, the crates and their contents.
const CRATES_HEADING: &str = "Crates, bottom up";

/// The heading above a table of rooms, up to the name of the crate. The first column names one or more rooms.
const ROOMS_HEADING: &str = "Rooms of ";

/// The lists of crates and rooms.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The crates in the order of the table.
    pub(super) crates: Vec<Entry>,
    rooms: HashMap<String, Vec<Entry>>,
}

/// A name in a list.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name of a room, or the folder of a crate, where `examples/*` stands for each folder of `examples`.
    pub(super) name: String,
    /// The line in the document, from 1.
    pub(super) line: usize,
    /// The level of a crate; 0 for a room.
    level: usize,
}

impl Document {
    /// Reads the tables under their headings. Other text is skipped.
    pub(super) fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut heading = String::new();
        for (index, line) in text.lines().enumerate() {
            if let Some(title) = line.strip_prefix('#') {
                title.trim_start_matches('#').trim().clone_into(&mut heading);
            } else if let Some(row) = line.strip_prefix('|') {
                document.add_row(&heading, row, index + 1);
            }
        }
        document
    }

    /// Returns the level of the crate in `folder`, or `None` if the table does not list it.
    pub(super) fn level(&self, folder: &str) -> Option<usize> {
        self.crates.iter().find(|entry| matches(&entry.name, folder)).map(|entry| entry.level)
    }

    /// Returns the rooms of a crate from the bottom up; none if the document has no table of its rooms.
    pub(super) fn rooms(&self, krate: &str) -> &[Entry] {
        self.rooms.get(krate).map_or(&[], Vec::as_slice)
    }

    fn add_row(&mut self, heading: &str, row: &str, line: usize) {
        let mut cells = row.split('|');
        if heading == CRATES_HEADING {
            let level = cells.next().and_then(|cell| cell.trim().parse().ok()).unwrap_or_default();
            self.crates.extend(names(cells.next()).map(|name| Entry { name, line, level }));
        } else if let Some(krate) = heading.strip_prefix(ROOMS_HEADING) {
            let krate = names(krate.split(',').next()).next().unwrap_or_default();
            let rooms = self.rooms.entry(krate).or_default();
            rooms.extend(names(cells.next()).map(|name| Entry { name, line, level: 0 }));
        }
    }
}

/// Returns whether an entry of the table of crates stands for the crate in `folder`.
pub(super) fn matches(name: &str, folder: &str) -> bool {
    name == folder
        || name.strip_suffix('*').is_some_and(|parent| folder.starts_with(parent) && folder.len() > parent.len())
}

/// Returns the names in backticks.
fn names(cell: Option<&str>) -> impl Iterator<Item = String> {
    cell.unwrap_or_default().split('`').skip(1).step_by(2).map(str::to_owned)
}
