//! `cargo xtask fuzz`: runs the fuzz targets of `omnistack-webhooks` with cargo-fuzz and libFuzzer.
//!
//! Needs a C++ compiler. It does not need a nightly Rust, because it uses no sanitizer: the crates have no unsafe code,
//! so the targets look for panics, overflows, endless loops and memory.

use std::fs;

use crate::{
    command,
    failure::{Context, Result},
    host,
    report::Report,
    tools::Tool,
};

/// The package with the targets.
const FUZZ_FOLDER: &str = "omnistack-webhooks/fuzz";
/// Longest duration of one input, in seconds.
const INPUT_TIMEOUT_SECONDS: u64 = 10;
/// Largest generated input, in bytes. A notification of the App Store has about 10 KiB.
const MAX_INPUT_BYTES: usize = 16 * 1024;

/// A fuzz target, and the folder of the inputs to start with.
struct Target(&'static str, &'static str);

const TARGETS: &[Target] = &[
    Target("apple", "omnistack-webhooks/fuzz/seeds/apple"),
    Target("certificate", "omnistack-webhooks/tests/data/apple"),
    Target("google", "omnistack-webhooks/fuzz/seeds/google"),
    Target("sources", "omnistack-webhooks/fuzz/seeds/sources"),
    Target("standard", "omnistack-webhooks/fuzz/seeds/standard"),
];

/// Returns the names of the targets.
pub(crate) fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|Target(name, _)| *name).collect()
}

/// Runs each target, or only the named one, for so many seconds. Inputs that reach new code are kept under `target/`
/// for the next run. Fails at the first input that makes a target panic; cargo-fuzz prints the input's path.
pub(crate) fn run(only: Option<&str>, seconds: u64) -> Result {
    let mut report = Report::default();
    let mut wanted = TARGETS.iter().filter(|Target(name, _)| only.is_none_or(|only| only == *name));
    let outcome = wanted.try_for_each(|target| report.step(target.0, || target.run(seconds)));
    report.print();
    outcome
}

impl Target {
    fn run(&self, seconds: u64) -> Result {
        let Self(name, seeds) = self;
        let (root, work) = (host::root(), host::target().join("fuzz"));
        let package = root.join(FUZZ_FOLDER);
        // The targets have a workspace of their own, and use the same versions of dependencies.
        fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).context("copying Cargo.lock")?;
        let corpus = work.join("corpus").join(name);
        fs::create_dir_all(&corpus).context(format_args!("creating {}", corpus.display()))?;
        command::run(
            Tool::FUZZ
                .command()?
                .args(["fuzz", "run", "--sanitizer", "none", "--strip-dead-code", "--fuzz-dir"])
                .arg(&package)
                .arg("--target-dir")
                .arg(&work)
                .arg(name)
                // libFuzzer writes to the first folder.
                .arg(&corpus)
                .arg(root.join(seeds))
                .arg("--")
                .arg(format!("-max_total_time={seconds}"))
                .arg(format!("-timeout={INPUT_TIMEOUT_SECONDS}"))
                .arg(format!("-max_len={MAX_INPUT_BYTES}")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_exists_and_has_seeds() {
        let root = host::root();
        let manifest = fs::read_to_string(root.join(FUZZ_FOLDER).join("Cargo.toml")).unwrap();
        for Target(name, seeds) in TARGETS {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            assert!(root.join(seeds).is_dir(), "{seeds}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    }
}
