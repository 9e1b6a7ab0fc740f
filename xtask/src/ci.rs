//! `cargo xtask ci`: every check a change must pass.

use std::process::Command;

use crate::{
    command,
    failure::{Failure, Result},
    report::Report,
    template, test,
    tools::Tool,
};

/// A name, what it checks, and how; the answer is a word for the table.
struct Step(&'static str, &'static str, fn() -> Result<&'static str>);

const STEPS: &[Step] = &[
    Step("fmt", "formatting", fmt),
    Step("clippy", "lints, as errors", clippy),
    Step("deny", "forbidden crates, licences, sources, security advisories", deny),
    Step("hack", "each library with every pair of features", hack),
    Step("test", "what `cargo xtask test` does", || test::run(&[]).map(|()| "")),
    Step("doc", "the API's documentation, warnings as errors", doc),
    Step("book", "the book under docs/", book),
    Step("template", "what `cargo xtask template` does", || template::run().map(|()| "")),
];

/// The names `--only` takes.
pub(crate) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|Step(name, ..)| *name).collect()
}

/// Prints the steps in order.
pub(crate) fn list() {
    for Step(name, about, _) in STEPS {
        println!("{name:9} {about}");
    }
}

/// Runs every step, or the named ones, to the end, so that one run shows everything that is wrong.
pub(crate) fn run(only: &[String]) -> Result {
    let mut report = Report::default();
    let mut failed = Vec::new();
    for Step(name, _, run) in STEPS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        if let Err(failure) = report.step_with_note(name, || Ok(((), run()?.to_owned()))) {
            eprintln!("{failure}");
            failed.push(*name);
        }
    }
    report.print();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{} failed: run `cargo xtask ci --only NAME` to see one alone", failed.join(", "))))
}

fn run_step(mut command: Command, arguments: &str) -> Result<&'static str> {
    command::run(command.args(arguments.split_whitespace())).map(|()| "")
}

fn fmt() -> Result<&'static str> {
    run_step(command::cargo(), "fmt --all --check")
}

fn clippy() -> Result<&'static str> {
    run_step(command::cargo(), "clippy --workspace --all-targets --all-features -- -D warnings")
}

fn deny() -> Result<&'static str> {
    let deny = |arguments| run_step(Tool::DENY.command()?, arguments);
    deny("check --hide-inclusion-graph bans licenses sources")?;
    // The advisories are a database of their own, which a closed network doesn't reach.
    if let Err(failure) = deny("fetch db") {
        eprintln!("Security advisories were NOT checked, because their database cannot be had: {failure}");
        return Ok("without advisories: their database cannot be had");
    }
    deny("check advisories")?;
    Ok("with advisories")
}

fn hack() -> Result<&'static str> {
    // No app does without a database, so libraries with database features need one of them.
    run_step(
        Tool::HACK.command()?,
        "hack check --workspace --ignore-private --feature-powerset --depth 2 --at-least-one-of sqlite,postgres",
    )
}

fn doc() -> Result<&'static str> {
    let mut doc = command::cargo();
    doc.env("RUSTDOCFLAGS", "-Dwarnings");
    run_step(doc, "doc --workspace --no-deps --all-features")
}

fn book() -> Result<&'static str> {
    run_step(Tool::MDBOOK.command()?, "build docs")
}
