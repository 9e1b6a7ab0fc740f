//! Programs that checks need: from the PATH, or else built in a pinned version under `target/`.

use std::{path::PathBuf, process::Command};

use crate::{command, failure::Result, host};

/// A program that is published as a crate of the same name.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// The Cargo feature that the program needs, if any.
    feature: Option<&'static str>,
}

impl Tool {
    /// Checks combinations of features.
    pub(crate) const HACK: Self = Self { name: "cargo-hack", version: "0.6.46", feature: None };
    /// Checks licences, sources and forbidden crates.
    pub(crate) const DENY: Self = Self { name: "cargo-deny", version: "0.20.2", feature: None };
    /// Builds the book.
    pub(crate) const MDBOOK: Self = Self { name: "mdbook", version: "0.5.4", feature: None };
    /// Generates an app from a template. The newest release whose locked dependencies build with the workspace's
    /// `rust-version`.
    pub(crate) const GENERATE: Self = Self { name: "cargo-generate", version: "0.23.8", feature: None };
    /// Runs fuzz targets.
    pub(crate) const FUZZ: Self = Self { name: "cargo-fuzz", version: "0.13.1", feature: None };
    /// An S3-compatible server for tests. The newest release that builds with the workspace's `rust-version`.
    pub(crate) const S3S: Self = Self { name: "s3s-fs", version: "0.14.1", feature: Some("binary") };
    /// A mock of model providers.
    pub(crate) const VIDAIMOCK: Self = Self { name: "vidaimock", version: "0.3.1", feature: None };

    /// Returns a command that runs the program in the root of the repository. Fails if the program can't be installed.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        command.current_dir(host::root());
        Ok(command)
    }

    /// Returns the path of the program, and installs it if it is missing. Fails if it can't be installed.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        if let Some(path) = host::find_program(self.name) {
            return Ok(path);
        }
        let crate_version = format!("{}@{}", self.name, self.version);
        let root = host::target().join("tools").join(&crate_version);
        let path = root.join("bin").join(self.name);
        if !path.is_file() {
            eprintln!("{} is not installed.", self.name);
            command::run(
                command::cargo()
                    .args(["install", "--quiet", "--locked", "--debug", &crate_version, "--root"])
                    .arg(&root)
                    .args(self.feature.map(|feature| format!("--features={feature}")))
                    .env("CARGO_PROFILE_DEV_DEBUG", "false")
                    // One target folder for all tools, which share dependencies.
                    .env("CARGO_TARGET_DIR", host::target().join("tools-build")),
            )?;
        }
        Ok(path)
    }
}
