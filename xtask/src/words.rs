//! `cargo xtask ci --only words`: plain words in docs, messages and names.
//!
//! Reads the sources of every crate, the book and the Markdown files of the root, and applies the rules below. Each
//! finding says where it is, which rule it breaks and what to write instead. The terms are those of
//! `docs/src/glossary.md`.

mod declarations;
mod docs;
mod files;
mod names;
mod prose;
mod source;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, path::Path};

use self::source::{Source, Token};
use crate::failure::{Failure, Result};

/// Checks every file under `root`; fails with one line for each finding, sorted by path and line.
pub(crate) fn run(root: &Path) -> Result<&'static str> {
    let findings = check(root)?;
    if findings.is_empty() {
        return Ok("");
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(Failure::new(format!("{}\n{}", lines.join("\n"), summary(&findings))))
}

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// The file, relative to the root.
    path: String,
    /// The line, from 1.
    line: usize,
    /// The rule's name.
    rule: &'static str,
    /// The problem, and what to write instead.
    message: String,
}

impl Finding {
    /// Creates a finding at `token` of `source`.
    fn at(source: &Source, token: &Token, rule: &'static str, message: String) -> Self {
        Self { path: source.path.clone(), line: token.line, rule, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.message)
    }
}

/// Returns the findings in every file under `root`.
fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, text) in files::markdown(root)? {
        findings.extend(prose::banned_subjects(&path, &prose::in_markdown(&text)));
    }
    for sources in files::crates(root)? {
        for source in &sources {
            findings.extend(check_source(source));
        }
        findings.extend(declarations::repeated_types(&sources));
    }
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

fn summary(findings: &[Finding]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.rule).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
    format!("words: {} findings ({})", findings.len(), counts.join(", "))
}
