//! The files that the checks of sources and pages read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::{Context, Result},
    source::Source,
};

/// The Markdown files of the root that readers see.
const ROOT_PAGES: &[&str] = &["CHANGELOG.md", "CONTRIBUTING.md", "README.md"];

/// Returns path and text of each Markdown file under `docs` and of the root's pages. A page that does not exist is left
/// out.
pub(crate) fn markdown(root: &Path) -> Result<Vec<(String, String)>> {
    let mut paths: Vec<PathBuf> = ROOT_PAGES.iter().map(|name| root.join(name)).filter(|path| path.is_file()).collect();
    paths.extend(files_below(&root.join("docs"), "md")?);
    paths.iter().map(|path| read(root, path)).collect()
}

/// Returns the sources of each crate, scanned.
pub(crate) fn crates(root: &Path) -> Result<Vec<Vec<Source>>> {
    crate_folders(root)?.iter().map(|folder| sources(root, &folder.join("src"))).collect()
}

/// Returns the folders of the crates: `omnistack*`, `xtask`, `examples/*` and `templates/*`.
pub(crate) fn crate_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = entries(root)?.into_iter().filter(|path| is_crate_of_the_root(path)).collect();
    folders.extend(entries(&root.join("examples"))?);
    folders.extend(entries(&root.join("templates"))?);
    Ok(folders)
}

fn is_crate_of_the_root(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("omnistack") || name == "xtask")
}

fn sources(root: &Path, folder: &Path) -> Result<Vec<Source>> {
    let paths = files_below(folder, "rs")?;
    paths.iter().map(|path| read(root, path).map(|(path, text)| Source::scan(path, &text))).collect()
}

/// Returns the path of a file relative to `root`, and its text.
pub(crate) fn read(root: &Path, path: &Path) -> Result<(String, String)> {
    let text = fs::read_to_string(path).context(format_args!("reading {}", path.display()))?;
    Ok((path.strip_prefix(root).unwrap_or(path).display().to_string(), text))
}

fn files_below(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            files.extend(files_below(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Returns the files in a folder, without its subfolders, sorted by name. Fails if the folder does not exist.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).context(reading())? {
        let path = entry.context(reading())?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns what a folder contains, sorted by name; nothing for a folder that does not exist.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let reading = || format!("reading {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).context(reading())? {
        paths.push(entry.context(reading())?.path());
    }
    paths.sort();
    Ok(paths)
}
