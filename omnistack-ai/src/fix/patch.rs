//! Reading, checking and applying the patch of a model. No I/O.

use std::fmt::Write as _;

use diffy::{Line, Patch};

use super::policy::FixPolicy;

/// Largest patch, in bytes.
const MAX_PATCH_BYTES: usize = 128 * 1024;

/// Most hunks of a patch. The place of each is searched in the whole file.
const MAX_HUNKS: usize = 200;

/// Largest number of lines that a patch writes, as a multiple of the changed lines that the policy permits: a patch may
/// write lines that it does not change. The comparison of the files takes time for each of them.
const WRITTEN_LINES_FACTOR: usize = 4;

/// A patch that applies and keeps to the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckedPatch {
    /// The patch, as a unified diff with the names of the file.
    pub(super) patch: String,
    /// The whole file after the patch.
    pub(super) fixed: String,
    /// The number of lines that are added and removed.
    pub(super) changed_lines: u32,
}

/// Checks that the patch of a model changes only this file, that it applies, and that the policy permits it.
///
/// Models miscount lines and forget the marks of a missing line break at the end of a file, so the numbers in the
/// patch are computed anew, and the result has the same line breaks as the file.
///
/// # Errors
/// A description of what is wrong, for the model.
pub(super) fn check(path: &str, original: &str, answer: &str, policy: &FixPolicy) -> Result<CheckedPatch, String> {
    policy.check_path(path).map_err(|reason| format!("the path {reason}"))?;
    if answer.len() > MAX_PATCH_BYTES {
        return Err(format!("the patch has more than {MAX_PATCH_BYTES} bytes"));
    }
    let ending = LineEnding::of(original);
    let base = ending.unify(original);
    let text = recount(path, &answer.replace("\r\n", "\n"))?;
    let written = text.lines().skip(2).filter(|line| line.starts_with(['+', '-'])).count();
    let most = usize::try_from(policy.max_changed_lines).unwrap_or(usize::MAX);
    if written > most.saturating_mul(WRITTEN_LINES_FACTOR) {
        return Err(format!("the patch changes {written} lines; at most {most} are permitted"));
    }
    let patch = Patch::from_str(&text).map_err(|error| format!("the patch can't be read: {error}"))?;
    let fixed = diffy::apply(&base, &patch)
        .map_err(|_| "the patch does not apply: its context lines differ from the file".to_owned())?;
    let fixed = ending.restore(&fixed);
    if fixed == original {
        return Err("the patch changes nothing".into());
    }
    let made = diffy::create_patch(original, &fixed);
    let lines = made.hunks().iter().flat_map(|hunk| hunk.lines());
    let changed = lines.filter(|line| !matches!(line, Line::Context(_))).count();
    let changed_lines = u32::try_from(changed).unwrap_or(u32::MAX);
    policy.check_change(original, &fixed, changed_lines)?;
    let made = made.to_string();
    // The first two lines are names that the library makes up.
    let hunks = made.find("@@").map_or("", |start| &made[start..]);
    Ok(CheckedPatch { patch: format!("--- a/{path}\n+++ b/{path}\n{hunks}"), fixed, changed_lines })
}

/// The line breaks of a file.
#[derive(Clone, Copy, Debug)]
struct LineEnding {
    /// Whether all lines end with CR LF.
    is_crlf: bool,
    /// Whether the last line has a line break.
    ends_with_break: bool,
}

impl LineEnding {
    fn of(text: &str) -> Self {
        let breaks = text.matches('\n').count();
        let is_crlf = breaks > 0 && text.matches("\r\n").count() == breaks;
        Self { is_crlf, ends_with_break: text.is_empty() || text.ends_with('\n') }
    }

    fn unify(self, text: &str) -> String {
        let mut text = if self.is_crlf { text.replace("\r\n", "\n") } else { text.to_owned() };
        if !self.ends_with_break {
            text.push('\n');
        }
        text
    }

    fn restore(self, text: &str) -> String {
        let text = if self.ends_with_break { text } else { text.strip_suffix('\n').unwrap_or(text) };
        if self.is_crlf { text.replace('\n', "\r\n") } else { text.to_owned() }
    }
}

/// A hunk under construction.
#[derive(Default)]
struct HunkText {
    old_start: usize,
    old_lines: usize,
    new_lines: usize,
    body: String,
}

/// Returns a patch of one file with the right numbers in its hunk headers.
fn recount(path: &str, patch: &str) -> Result<String, String> {
    let mut hunks: Vec<HunkText> = Vec::new();
    let lines: Vec<&str> = patch.trim_end_matches('\n').lines().collect();
    let mut files = 0;
    for (index, line) in lines.iter().enumerate() {
        let next = lines.get(index + 1).copied().unwrap_or_default();
        let is_fence = line.starts_with("```");
        if line.starts_with("--- ") && next.starts_with("+++ ") {
            files += 1;
            check_name(path, &line[4..])?;
            check_name(path, &next[4..])?;
        } else if is_fence || (line.starts_with("+++ ") && index > 0 && lines[index - 1].starts_with("--- ")) {
            // The second name was read with the first; a fence is no part of a patch.
        } else if line.starts_with("@@") {
            hunks.push(HunkText { old_start: old_start(line), ..HunkText::default() });
        } else if let Some(hunk) = hunks.last_mut() {
            match line.as_bytes().first() {
                // Editors and models drop the space of an empty context line.
                None | Some(b' ') => {
                    (hunk.old_lines, hunk.new_lines) = (hunk.old_lines + 1, hunk.new_lines + 1);
                    hunk.body.push_str(if line.is_empty() { " " } else { line });
                }
                Some(b'-') => {
                    hunk.old_lines += 1;
                    hunk.body.push_str(line);
                }
                Some(b'+') => {
                    hunk.new_lines += 1;
                    hunk.body.push_str(line);
                }
                // The mark of a missing line break.
                Some(b'\\') => continue,
                Some(_) => {
                    let number = index + 1;
                    return Err(format!("line {number} of the patch begins with neither a space, `+` nor `-`"));
                }
            }
            hunk.body.push('\n');
        }
        if files > 1 {
            return Err("the patch changes several files; it may change only one".into());
        }
    }
    if hunks.len() > MAX_HUNKS {
        return Err(format!("the patch has {} hunks; at most {MAX_HUNKS} are permitted", hunks.len()));
    }
    if hunks.is_empty() {
        return Err("the patch has no hunk: write a unified diff with `@@` lines".into());
    }
    let mut text = format!("--- a/{path}\n+++ b/{path}\n");
    let (mut added, mut removed) = (0, 0);
    for HunkText { old_start, old_lines, new_lines, body } in hunks {
        let new_start = (old_start + added).saturating_sub(removed);
        _ = write!(text, "@@ -{old_start},{old_lines} +{new_start},{new_lines} @@\n{body}");
        (added, removed) = (added + new_lines, removed + old_lines);
    }
    Ok(text)
}

/// Checks that a name in a patch is that of the file, with or without the prefixes of git.
fn check_name(path: &str, name: &str) -> Result<(), String> {
    let name = name.split('\t').next().unwrap_or_default().trim();
    let plain = name.strip_prefix("a/").or_else(|| name.strip_prefix("b/")).unwrap_or(name);
    if plain == path || name == path {
        return Ok(());
    }
    Err(format!("the patch changes another file than `{path}`"))
}

/// Returns the first line of a hunk in the original file, as far as its header says so.
fn old_start(header: &str) -> usize {
    let number = header.split('-').nth(1).unwrap_or_default();
    let digits: String = number.chars().take_while(char::is_ascii_digit).take(9).collect();
    digits.parse().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::policy::tests::policy;

    const FILE: &str = "fn main() {\n    let x = y.unwrap();\n\n    println!(\"{x}\");\n}\n";
    const GOOD: &str = "--- a/src/main.rs\n+++ b/src/main.rs\n@@ -1,3 +1,3 @@\n fn main() {\n\
        -    let x = y.unwrap();\n+    let x = y?;\n \n";

    fn checked(original: &str, patch: &str) -> Result<CheckedPatch, String> {
        check("src/main.rs", original, patch, &policy())
    }

    #[test]
    fn a_patch_is_applied() {
        let fixed = FILE.replace("y.unwrap()", "y?");
        let result = checked(FILE, GOOD).unwrap();
        assert_eq!((result.fixed.as_str(), result.changed_lines), (fixed.as_str(), 2));
        assert!(
            result.patch.starts_with("--- a/src/main.rs\n+++ b/src/main.rs\n@@ -1,5 +1,5 @@\n"),
            "{}",
            result.patch
        );
        // The stored patch leads to the same file.
        assert_eq!(checked(FILE, &result.patch).unwrap(), result);
    }

    #[test]
    fn frequent_mistakes_of_models_are_repaired() {
        let fixed = FILE.replace("y.unwrap()", "y?");
        for (name, patch) in [
            ("wrong counts", GOOD.replace("@@ -1,3 +1,3 @@", "@@ -7,1 +2,9 @@")),
            ("no counts", GOOD.replace("@@ -1,3 +1,3 @@", "@@ ... @@")),
            ("no names", GOOD.split_once("@@").map(|(_, rest)| format!("@@{rest}")).unwrap()),
            ("names without prefixes", GOOD.replace("a/src", "src").replace("b/src", "src")),
            ("a fence", format!("```diff\n{GOOD}```\n")),
            ("an empty context line without its space", GOOD.replace("\n \n", "\n\n     println!(\"{x}\");\n")),
            ("CR LF", GOOD.replace('\n', "\r\n")),
        ] {
            assert_eq!(checked(FILE, &patch).map(|result| result.fixed), Ok(fixed.clone()), "{name}");
        }
    }

    #[test]
    fn the_file_keeps_its_line_breaks() {
        let crlf = FILE.replace('\n', "\r\n");
        assert_eq!(checked(&crlf, GOOD).unwrap().fixed, crlf.replace("y.unwrap()", "y?"));
        let patch = "@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n";
        assert_eq!(checked("a", patch).unwrap().fixed, "b");
        assert_eq!(checked("x\na", "@@ -2 +2,2 @@\n-a\n+b\n+c\n").unwrap().fixed, "x\nb\nc");
    }

    #[test]
    fn other_patches_are_refused() {
        let several = format!("{GOOD}--- a/src/lib.rs\n+++ b/src/lib.rs\n@@ -1 +1 @@\n-a\n+b\n");
        for (patch, reason) in [
            ("", "no hunk"),
            ("I can't fix this.", "no hunk"),
            (&GOOD.replace("y.unwrap()", "z.unwrap()"), "does not apply"),
            (&GOOD.replace("+    let x = y?;", "+    let x = y.unwrap();"), "changes nothing"),
            (&GOOD.replace("b/src/main.rs", "b/src/lib.rs"), "another file"),
            (&GOOD.replace("+++ b/src/main.rs", "+++ /dev/null"), "another file"),
            (&several, "another file"),
            (&GOOD.replace("+    let x = y?;\n", "+1\n+2\n+3\n+4\n"), "at most 4"),
            (&GOOD.replace("y?;", "y?; //\u{202e}"), "U+202E"),
            (&format!("{GOOD}That is all."), "begins with neither"),
            (&"+".repeat(200 * 1024), "bytes"),
            (&format!("@@ -1,5 +1,5 @@\n{}", "-a\n+a\n".repeat(10)), "at most 4"),
            (&"@@ -1 +1 @@\n fn main() {\n".repeat(201), "hunks"),
        ] {
            let error = checked(FILE, patch).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
        assert!(check(".github/x.yml", "a\n", "@@ -1 +1 @@\n-a\n+b\n", &policy()).unwrap_err().contains("protects"));
    }
}
