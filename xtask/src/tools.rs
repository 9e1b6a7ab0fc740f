//! Cargo's companions that checks need: one from the PATH, else a pinned one built under `target/`.

use std::{path::PathBuf, process::Command};

use crate::{command, failure::Result, host};

/// A program published as a crate of the same name.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// The feature its program is behind, if there is one.
    feature: Option<&'static str>,
}

impl Tool {
    /// Checks every combination of features.
    pub(crate) const HACK: Self = Self { name: "cargo-hack", version: "0.6.46", feature: None };
    /// Checks licences, sources and forbidden crates.
    pub(crate) const DENY: Self = Self { name: "cargo-deny", version: "0.20.2", feature: None };
    /// Builds the book.
    pub(crate) const MDBOOK: Self = Self { name: "mdbook", version: "0.5.4", feature: None };
    /// Makes an app from a template. The last release whose locked dependencies build on our `rust-version`.
    pub(crate) const GENERATE: Self = Self { name: "cargo-generate", version: "0.23.8", feature: None };
    /// A bucket as those of S3, for tests that speak to it. The last release that builds on our `rust-version`.
    pub(crate) const S3S: Self = Self { name: "s3s-fs", version: "0.14.1", feature: Some("binary") };

    /// A command that runs it in the repository.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        command.current_dir(host::root());
        Ok(command)
    }

    /// Where it is: found, or installed.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        if let Some(path) = host::program(self.name) {
            return Ok(path);
        }
        let crate_version = format!("{}@{}", self.name, self.version);
        let root = host::target().join("tools").join(&crate_version);
        let path = root.join("bin").join(self.name);
        if !path.is_file() {
            eprintln!("{} is not on this machine.", self.name);
            command::run(
                command::cargo()
                    .args(["install", "--quiet", "--locked", "--debug", &crate_version, "--root"])
                    .arg(&root)
                    .args(self.feature.map(|feature| format!("--features={feature}")))
                    .env("CARGO_PROFILE_DEV_DEBUG", "false")
                    // One for all tools: they share dependencies.
                    .env("CARGO_TARGET_DIR", host::target().join("tools-build")),
            )?;
        }
        Ok(path)
    }
}
