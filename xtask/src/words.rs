//! `cargo xtask ci --only words`: plain words in docs, messages and names.
//!
//! Reads the sources of every crate, the book and the Markdown files of the root, and applies the rules below. Each
//! finding says where it is, which rule it breaks and what to write instead. The terms are those of
//! `docs/src/glossary.md`.

mod declarations;
mod docs;
mod glossary;
mod names;
mod prose;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::{
    failure::Result,
    files,
    finding::{self, Finding},
    source::Source,
};

/// Checks every file under `root`; fails with one line for each finding, sorted by path and line.
pub(crate) fn run(root: &Path) -> Result<&'static str> {
    finding::report("words", &check(root)?)
}

/// Returns the findings in every file under `root`.
fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let pages = files::markdown(root)?;
    for (path, text) in &pages {
        findings.extend(prose::banned_subjects(path, &prose::in_markdown(text)));
    }
    let crates = files::crates(root)?;
    for sources in &crates {
        findings.extend(sources.iter().flat_map(check_source));
        findings.extend(declarations::repeated_types(sources));
    }
    findings.extend(glossary::unknown_names(&pages, &crates));
    findings.sort();
    Ok(findings)
}

fn check_source(source: &Source) -> Vec<Finding> {
    let mut findings = prose::banned_subjects(&source.path, &prose::in_source(source));
    findings.extend(docs::fragments(source));
    findings.extend(docs::missing_errors(source));
    findings.extend(names::bare_constants(source));
    findings.extend(declarations::bare_types(source));
    findings
}
