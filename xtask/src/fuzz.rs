//! `cargo xtask fuzz`: runs the fuzz targets of webhooks and of `omnistack-ai` with cargo-fuzz and libFuzzer.
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

/// Longest duration of one input, in seconds.
const INPUT_TIMEOUT_SECONDS: u64 = 10;
/// Largest generated input, in bytes. A notification of the App Store has about 10 KiB.
const MAX_INPUT_BYTES: usize = 16 * 1024;

/// The package with the targets of all that receives webhooks.
const WEBHOOKS: &str = "omnistack-webhooks/fuzz";
/// The package with the targets of omnistack-ai.
const AI: &str = "omnistack-ai/fuzz";

/// A fuzz target, its package, and the folder of the inputs to start with.
struct Target(&'static str, &'static str, &'static str);

const TARGETS: &[Target] = &[
    Target("apple", WEBHOOKS, "omnistack-webhooks/fuzz/seeds/apple"),
    Target("certificate", WEBHOOKS, "omnistack-webhooks/tests/data/apple"),
    Target("google", WEBHOOKS, "omnistack-webhooks/fuzz/seeds/google"),
    Target("mail", WEBHOOKS, "omnistack-webhooks/fuzz/seeds/mail"),
    Target("payments", WEBHOOKS, "omnistack-webhooks/fuzz/seeds/payments"),
    Target("sms", WEBHOOKS, "omnistack-webhooks/fuzz/seeds/sms"),
    Target("sources", WEBHOOKS, "omnistack-webhooks/fuzz/seeds/sources"),
    Target("standard", WEBHOOKS, "omnistack-webhooks/fuzz/seeds/standard"),
    Target("users", WEBHOOKS, "omnistack-webhooks/fuzz/seeds/users"),
    Target("anthropic", AI, "omnistack-ai/fuzz/seeds/anthropic"),
    Target("gemini", AI, "omnistack-ai/fuzz/seeds/gemini"),
    Target("openai_chat", AI, "omnistack-ai/fuzz/seeds/openai_chat"),
    Target("openai_responses", AI, "omnistack-ai/fuzz/seeds/openai_responses"),
    Target("sse", AI, "omnistack-ai/fuzz/seeds/sse"),
];

/// Returns the names of the targets.
pub(crate) fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|Target(name, ..)| *name).collect()
}

/// Runs each target, or only the named one, for so many seconds. Inputs that reach new code are kept under `target/`
/// for the next run. Fails at the first input that makes a target panic; cargo-fuzz prints the input's path.
pub(crate) fn run(only: Option<&str>, seconds: u64) -> Result {
    let mut report = Report::default();
    let mut wanted = TARGETS.iter().filter(|Target(name, ..)| only.is_none_or(|only| only == *name));
    let outcome = wanted.try_for_each(|target| report.step(target.0, || target.run(seconds)));
    report.print();
    outcome
}

impl Target {
    fn run(&self, seconds: u64) -> Result {
        let Self(name, package, seeds) = self;
        let (root, work) = (host::root(), host::target().join("fuzz"));
        let package = root.join(package);
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
        for package in [WEBHOOKS, AI] {
            let manifest = fs::read_to_string(root.join(package).join("Cargo.toml")).unwrap();
            let targets = || TARGETS.iter().filter(|Target(_, of, _)| *of == package);
            for Target(name, _, seeds) in targets() {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
                assert!(root.join(seeds).is_dir(), "{seeds}");
            }
            assert_eq!(manifest.matches("[[bin]]").count(), targets().count());
        }
    }
}
