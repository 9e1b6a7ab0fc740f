//! The rule for the code names of the glossary: `unknown-name`.

use std::collections::HashSet;

use crate::{finding::Finding, source::Source};

/// The page that lists the terms.
const GLOSSARY_PAGE: &str = "docs/src/glossary.md";

/// The header fields of the glossary that are written like a type.
const HEADER_FIELDS: &[&str] = &["Forwarded"];

/// Finds names of types in the glossary that no source contains. `crates` are the sources of each crate. The column
/// "source" names items of other crates and is not read.
pub(super) fn unknown_names(pages: &[(String, String)], crates: &[Vec<Source>]) -> Vec<Finding> {
    let Some((path, text)) = pages.iter().find(|(path, _)| path == GLOSSARY_PAGE) else { return Vec::new() };
    let tokens = crates.iter().flatten().flat_map(|source| &source.tokens);
    let known: HashSet<&str> = tokens.filter_map(|token| token.word()).collect();
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in type_names(line).filter(|name| !known.contains(name)) {
            let message = format!("no source contains `{name}`; write the name that the code has");
            findings.push(Finding { path: path.clone(), line: index + 1, rule: "unknown-name", message });
        }
    }
    findings
}

/// Returns the names of types in the columns "term" and "meaning" of a row: the capitalized parts of Rust paths in code.
fn type_names(row: &str) -> impl Iterator<Item = &str> {
    let cells = row.split('|').skip(1).take(2);
    let code = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let is_in_path = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    let paths = code.filter(move |code| code.chars().all(is_in_path) && !HEADER_FIELDS.contains(code));
    let names = paths.flat_map(|path| path.split("::"));
    names.filter(|name| name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase))
}
