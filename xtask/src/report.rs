//! [`Report`], the progress of steps and the table at the end.

use std::time::Duration;

use crate::{clock::Stopwatch, failure::Result};

/// The steps that were run, in order, with their outcome.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    name: String,
    outcome: &'static str,
    took: Option<Duration>,
    note: String,
}

impl Report {
    /// Runs a step and records its outcome and duration. Fails if the step fails.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> Result) -> Result {
        self.step_with_note(name, || run().map(|()| ((), String::new())))
    }

    /// Runs a step like [`Report::step`], and returns its value and records its note.
    pub(crate) fn step_with_note<T>(&mut self, name: &str, run: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        eprintln!("\n==> {name}");
        let watch = Stopwatch::start();
        let result = run();
        let took = watch.elapsed();
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        let note = result.as_ref().map_or_else(|_| String::new(), |(_, note)| note.clone());
        eprintln!(
            "==> {name}: {outcome} in {:.1} s{}{note}",
            took.as_secs_f64(),
            if note.is_empty() { "" } else { ": " }
        );
        self.0.push(Row { name: name.to_owned(), outcome, took: Some(took), note });
        result.map(|(value, _)| value)
    }

    /// Records a row without a duration.
    pub(crate) fn note(&mut self, name: &str, outcome: &'static str, note: impl Into<String>) {
        self.0.push(Row { name: name.to_owned(), outcome, took: None, note: note.into() });
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        let width = self.0.iter().map(|row| row.name.len()).max().unwrap_or_default();
        println!();
        for Row { name, outcome, took, note } in &self.0 {
            let took = took.map_or_else(String::new, |took| format!("{:.1} s", took.as_secs_f64()));
            println!("{}", format!("{name:width$}  {outcome:7}  {took:>9}  {note}").trim_end());
        }
        println!();
    }
}
