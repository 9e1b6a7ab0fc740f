//! Problems of the build.

use std::fmt;

use crate::config::ConfigProblem;

/// A problem that keeps the app from being built, and its fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the module that has the problem.
    pub module: &'static str,
    /// Description of what is wrong.
    pub what: String,
    /// Description of what to do.
    pub fix: String,
}

impl Problem {
    pub(crate) fn from_setting(module: &'static str, problem: &ConfigProblem) -> Self {
        Self { module, what: problem.to_string(), fix: problem.fix.clone() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n      fix: {}", self.module, self.what, self.fix)
    }
}

/// All problems that keep the app from being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(pub Vec<Problem>);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the app can't be built: {count} problem{}", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for BuildError {}
