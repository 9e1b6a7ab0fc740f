//! `cargo xtask book`: shows files of the repository in the book and in the pages of the root.
//!
//! A page names a file, or the lines of it between the comments `ANCHOR: name` and `ANCHOR_END: name`:
//!
//! ```text
//! <!-- include examples/book/src/reports.rs:pair -->
//! <!-- end include -->
//! ```
//!
//! The command writes the code between the two lines, so that the page shows it on a code host too. The check
//! `cargo xtask ci --only book` fails if a page shows something else than the file.

use std::{fs, path::Path};

use crate::{
    failure::{Context, Failure, Result},
    files,
    finding::{self, Finding},
};

/// The begin of the line before a shown file; its path follows.
const BEGIN: &str = "<!-- include ";
/// The end of that line.
const END_OF_BEGIN: &str = " -->";
/// The line after a shown file.
const END: &str = "<!-- end include -->";
/// The beginning of an include of mdBook, which only mdBook resolves.
const MDBOOK_INCLUDE: &str = "{{#include";
/// The command that writes the pages.
const COMMAND: &str = "cargo xtask book";

/// Writes each page that shows something else than its files, and prints its path.
pub(crate) fn write(root: &Path) -> Result {
    for (path, text) in files::markdown(root)? {
        let fresh = refresh(root, &text).map_err(|problem| problem.failure(&path))?;
        if fresh != text {
            fs::write(root.join(&path), fresh).context(format_args!("writing {path}"))?;
            println!("{path}");
        }
    }
    Ok(())
}

/// Fails if a page shows something else than its files, or names a file that does not exist.
pub(crate) fn check(root: &Path) -> Result {
    let mut findings = Vec::new();
    for (path, text) in files::markdown(root)? {
        match refresh(root, &text) {
            Ok(fresh) if fresh == text => {}
            Ok(fresh) => {
                let line = 1 + text.lines().zip(fresh.lines()).take_while(|(old, new)| old == new).count();
                let message = format!("the page shows an old state of a file; run `{COMMAND}`");
                findings.push(Finding { path, line, rule: "stale-include", message });
            }
            Err(Problem { line, message }) => findings.push(Finding { path, line, rule: "include", message }),
        }
    }
    finding::report("book", &findings).map(|_| ())
}

/// A line of a page that shows no file.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    /// The line, from 1.
    line: usize,
    message: String,
}

impl Problem {
    fn failure(&self, path: &str) -> Failure {
        Failure::new(format!("{path}:{}: {}", self.line, self.message))
    }
}

/// Returns the page as its files are now.
fn refresh(root: &Path, page: &str) -> Result<String, Problem> {
    let mut fresh = String::with_capacity(page.len());
    let mut lines = page.split_inclusive('\n').enumerate();
    while let Some((index, line)) = lines.next() {
        let problem = |message: String| Problem { line: index + 1, message };
        if line.contains(MDBOOK_INCLUDE) {
            let message = format!("only mdBook shows this; write `{BEGIN}PATH{END_OF_BEGIN}` and run `{COMMAND}`");
            return Err(problem(message));
        }
        fresh.push_str(line);
        let Some(shown) = shown_file(line) else { continue };
        let end = lines.by_ref().map(|(_, line)| line).find(|line| is_end(line) || shown_file(line).is_some());
        let end = end.filter(|line| is_end(line));
        let end = end.ok_or_else(|| problem(format!("a line `{END}` must follow")))?;
        fresh.push_str(&block(root, shown).map_err(|failure| problem(failure.to_string()))?);
        fresh.push_str(end);
    }
    Ok(fresh)
}

/// Returns what follows `include` in a line that begins a shown file.
fn shown_file(line: &str) -> Option<&str> {
    line.strip_prefix(BEGIN)?.trim_end().strip_suffix(END_OF_BEGIN)
}

fn is_end(line: &str) -> bool {
    line.trim_end() == END
}

/// Returns the text for `path` or `path:anchor`: code in a fence, Markdown as it stands.
fn block(root: &Path, shown: &str) -> Result<String> {
    let (path, anchor) = shown.split_once(':').map_or((shown, None), |(path, anchor)| (path, Some(anchor)));
    let (_, text) = files::read(root, &root.join(path))?;
    let lines = match anchor {
        None => without_anchors(text.lines()),
        Some(anchor) => part(&text, anchor)
            .ok_or_else(|| Failure::new(format!("{path} has no lines between `ANCHOR: {anchor}` and its end")))?,
    };
    let code = lines.join("\n");
    let code = code.trim_matches('\n');
    let Some(language) = language(path) else { return Ok(format!("{code}\n")) };
    let fence = fence(code);
    Ok(format!("{fence}{language}\n{code}\n{fence}\n"))
}

/// Returns the lines of an anchor without their common indentation; `None` if the file has no such anchor.
fn part<'a>(text: &'a str, anchor: &str) -> Option<Vec<&'a str>> {
    let is_mark = |line: &str, mark: &str| line.split_once(mark).is_some_and(|(_, name)| name.trim() == anchor);
    let mut lines = text.lines().skip_while(|line| !is_mark(line, "ANCHOR: ")).skip(1);
    let mut inside = Vec::new();
    loop {
        let line = lines.next()?;
        if is_mark(line, "ANCHOR_END: ") {
            break;
        }
        inside.push(line);
    }
    let lines = without_anchors(inside.into_iter());
    let indentation = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().filter(|line| !line.trim().is_empty()).map(indentation).min().unwrap_or(0);
    Some(lines.into_iter().map(|line| line.get(common..).unwrap_or_default()).collect())
}

fn without_anchors<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lines.filter(|line| !line.contains("ANCHOR: ") && !line.contains("ANCHOR_END: ")).collect()
}

/// Returns the language of a fence; `None` for Markdown, which needs none.
fn language(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "md" => None,
        "rs" => Some("rust"),
        "py" => Some("python"),
        "mjs" | "js" => Some("js"),
        "yml" => Some("yaml"),
        "css" | "html" | "json" | "sh" | "sql" | "toml" | "ts" | "tsx" | "yaml" => Some(extension),
        _ => Some("text"),
    }
}

/// Returns a fence that no line of the code closes.
fn fence(code: &str) -> String {
    let backticks = |line: &str| line.trim_start().chars().take_while(|character| *character == '`').count();
    "`".repeat(code.lines().map(backticks).max().unwrap_or(0).max(2) + 1)
}

#[cfg(test)]
mod tests;
