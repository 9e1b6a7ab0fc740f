//! `cargo xtask ci --only architecture`: crates and their rooms import in one direction.
//!
//! A room is a top-level module of a crate with its submodules. `docs/ARCHITECTURE.md` lists the crates and the rooms
//! of each `omnistack-*` crate from the bottom up. The check compares these lists with the modules and the imports in
//! the sources: paths in `use` and paths in code, with every feature, without tests.
//!
//! | rule | finding |
//! |---|---|
//! | `upward-import` | a room imports a room that is listed after it |
//! | `crate-order` | a crate imports a crate of its own level or a higher one |
//! | `unlisted` | a crate or a room that the document does not list |
//! | `missing` | a crate, a room or a source file that only the document names |

mod code;
mod document;
mod imports;
mod krate;
#[cfg(test)]
mod tests;

use std::path::Path;

use self::{
    document::{DOCUMENT_PATH, Document},
    imports::Import,
    krate::{Krate, Module},
};
use crate::{
    failure::{Context, Result},
    files,
    finding::{self, Finding},
};

/// Checks the crates under `root`; fails with one line for each finding, sorted by path and line.
pub(crate) fn run(root: &Path) -> Result<&'static str> {
    finding::report("architecture", &check(root)?)
}

/// Returns the findings in the document and the crates under `root`.
fn check(root: &Path) -> Result<Vec<Finding>> {
    let (_, text) = files::read(root, &root.join(DOCUMENT_PATH)).context("the list of crates and rooms")?;
    let document = Document::parse(&text);
    let mut crates = Vec::new();
    for folder in files::crate_folders(root)? {
        if folder != root.join("xtask") {
            crates.push(Krate::read(root, &folder)?);
        }
    }

    let mut findings = missing_crates(&document, &crates);
    findings.extend(missing_files(&text, &crates));
    for krate in &crates {
        findings.extend(crate_order(&document, krate, &crates));
        if krate.folder.starts_with("omnistack-") {
            findings.extend(unlisted_rooms(&document, krate));
            findings.extend(missing_rooms(&document, krate));
            findings.extend(upward_imports(&document, krate));
        }
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

fn missing_crates(document: &Document, crates: &[Krate]) -> Vec<Finding> {
    let exists = |name: &str| crates.iter().any(|krate| document::matches(name, &krate.folder));
    let entries = document.crates.iter().filter(|entry| !exists(&entry.name));
    entries
        .map(|entry| missing(entry.line, format!("there is no crate `{}`; remove it from the table", entry.name)))
        .collect()
}

/// Finds names of source files, such as `db/tx.rs`, in the document that are not the end of a module's path.
fn missing_files(text: &str, crates: &[Krate]) -> Vec<Finding> {
    let modules = || crates.iter().flat_map(|krate| &krate.modules);
    let exists = |name: &str| modules().any(|module| format!("/{}", module.source.path).ends_with(&format!("/{name}")));
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let names = line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| Path::new(code).extension().is_some_and(|extension| extension == "rs"));
        let unknown = names.filter(|name| !exists(name));
        findings
            .extend(unknown.map(|name| missing(index + 1, format!("no module has the file `{name}`; write its path"))));
    }
    findings
}

/// Finds imports of crates that are not on a lower level, and a crate that the table of crates does not list.
fn crate_order(document: &Document, krate: &Krate, crates: &[Krate]) -> Vec<Finding> {
    let Some(level) = document.level(&krate.folder) else {
        let path = krate.modules.first().map_or_else(String::new, |module| module.source.path.clone());
        let message = format!("the crate `{}` is missing in the table of crates of {DOCUMENT_PATH}", krate.folder);
        return vec![Finding { path, line: 1, rule: "unlisted", message }];
    };
    let mut findings = Vec::new();
    for (module, import) in krate.imports() {
        let imported = crates.iter().find(|other| other.identifier() == import.path[0] && other.folder != krate.folder);
        let Some(imported) = imported else { continue };
        // An unlisted crate has a finding of its own.
        let Some(other) = document.level(&imported.folder).filter(|other| *other >= level) else { continue };
        let message = format!(
            "`{}` (level {level}) imports `{}` from `{}` (level {other}); a crate imports only crates of lower levels",
            krate.folder,
            import.path.join("::"),
            imported.folder,
        );
        findings.push(at(module, &import, "crate-order", message));
    }
    findings
}

fn unlisted_rooms(document: &Document, krate: &Krate) -> Vec<Finding> {
    let listed = document.rooms(&krate.folder);
    let rooms = krate.rooms.iter().filter(|(name, ..)| !listed.iter().any(|entry| entry.name == **name));
    let finding = |(name, line): (&String, &usize)| Finding {
        path: format!("{}/src/lib.rs", krate.folder),
        line: *line,
        rule: "unlisted",
        message: format!("the room `{name}` is missing in the rooms of `{}` in {DOCUMENT_PATH}", krate.folder),
    };
    rooms.map(finding).collect()
}

fn missing_rooms(document: &Document, krate: &Krate) -> Vec<Finding> {
    let rooms = document.rooms(&krate.folder).iter().filter(|entry| !krate.rooms.contains_key(&entry.name));
    let message = |name| format!("`{}` has no module `{name}`; remove the room from the table", krate.folder);
    rooms.map(|entry| missing(entry.line, message(&entry.name))).collect()
}

/// Finds imports from a room that is listed after the importing one. An unlisted room has a finding of its own.
fn upward_imports(document: &Document, krate: &Krate) -> Vec<Finding> {
    let rooms = document.rooms(&krate.folder);
    let position = |room: &str| rooms.iter().position(|entry| entry.name == room);
    let mut findings = Vec::new();
    for (module, import) in krate.imports() {
        let (Some(room), Some(imported)) = (module.path.first(), krate.room_of(&import.path)) else { continue };
        let (Some(lower), Some(higher)) = (position(room), position(&imported)) else { continue };
        if lower >= higher {
            continue;
        }
        let (path, line) = krate.place_of(&import.path);
        let message = format!(
            "`{room}` imports `{}` from the higher room `{imported}` ({path}:{line}); move the code that needs it up \
             or what it needs down",
            import.path.join("::"),
        );
        findings.push(at(module, &import, "upward-import", message));
    }
    findings
}

fn at(module: &Module, import: &Import, rule: &'static str, message: String) -> Finding {
    Finding { path: module.source.path.clone(), line: import.line, rule, message }
}

fn missing(line: usize, message: String) -> Finding {
    Finding { path: DOCUMENT_PATH.to_owned(), line, rule: "missing", message }
}
