//! [`Finding`], a place where a rule of a check is broken.

use std::{collections::BTreeMap, fmt};

use crate::{
    failure::{Failure, Result},
    source::{Source, Token},
};

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, relative to the root.
    pub(crate) path: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The rule's name.
    pub(crate) rule: &'static str,
    /// The problem, and how to solve it.
    pub(crate) message: String,
}

impl Finding {
    /// Creates a finding at `token` of `source`.
    pub(crate) fn at(source: &Source, token: &Token, rule: &'static str, message: String) -> Self {
        Self { path: source.path.clone(), line: token.line, rule, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.message)
    }
}

/// Fails if there are findings, with one line for each and a summary for `check`.
pub(crate) fn report(check: &str, findings: &[Finding]) -> Result<&'static str> {
    if findings.is_empty() {
        return Ok("");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.rule).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let summary = format!("{check}: {} findings ({})", findings.len(), counts.join(", "));
    Err(Failure::new(format!("{}\n{summary}", lines.join("\n"))))
}
