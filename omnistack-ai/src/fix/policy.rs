//! The policy that patches keep to. No I/O.

use std::collections::HashSet;

/// Longest path of a file, in characters.
pub(super) const MAX_PATH_CHARS: usize = 500;

/// The limits of a patch, and the rule for patches that need no person.
#[derive(Clone, Debug)]
pub(super) struct FixPolicy {
    /// Most lines that a patch adds and removes together.
    pub(super) max_changed_lines: u32,
    /// Paths that no patch changes: files, or folders that end with `/`.
    pub(super) forbidden_paths: Vec<String>,
    /// The rule that approves patches without a person.
    pub(super) auto_approval: Option<AutoApproval>,
}

/// The rule that approves patches without a person.
#[derive(Clone, Copy, Debug)]
pub(super) struct AutoApproval {
    /// Least confidence, in percent.
    pub(super) confidence: u32,
    /// Most lines that the patch adds and removes together.
    pub(super) changed_lines: u32,
}

impl FixPolicy {
    /// Returns whether the rule approves a patch.
    pub(super) fn approves(&self, confidence: u8, changed_lines: u32) -> bool {
        self.auto_approval
            .is_some_and(|rule| u32::from(confidence) >= rule.confidence && changed_lines <= rule.changed_lines)
    }

    /// Checks the path of a file.
    ///
    /// # Errors
    /// The reason why patches may not change it, to be read after the name of the field.
    pub(super) fn check_path(&self, path: &str) -> Result<(), String> {
        check_path_form(path)?;
        let is_forbidden = |forbidden: &String| match forbidden.strip_suffix('/') {
            // A folder is also forbidden inside another one, as in a repository with several projects.
            Some(folder) => format!("/{path}").contains(&format!("/{folder}/")),
            None => path == forbidden || path.ends_with(&format!("/{forbidden}")),
        };
        match self.forbidden_paths.iter().find(|forbidden| is_forbidden(forbidden)) {
            Some(forbidden) => Err(format!("must not be in `{forbidden}`, which the policy protects from fixes")),
            None => Ok(()),
        }
    }

    /// Checks a change of a file.
    ///
    /// # Errors
    /// The reason why the policy forbids it, for the model.
    pub(super) fn check_change(&self, original: &str, fixed: &str, changed_lines: u32) -> Result<(), String> {
        if changed_lines > self.max_changed_lines {
            let most = self.max_changed_lines;
            return Err(format!("the patch changes {changed_lines} lines; at most {most} are permitted"));
        }
        let known: HashSet<char> = original.chars().filter(|letter| is_deceptive(*letter)).collect();
        match fixed.chars().find(|letter| is_deceptive(*letter) && !known.contains(letter)) {
            Some(letter) => Err(format!("the patch adds the invisible character U+{:04X}", u32::from(letter))),
            None => Ok(()),
        }
    }
}

/// Checks that a path is relative and stays in its repository.
pub(super) fn check_path_form(path: &str) -> Result<(), String> {
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..");
    let is_plain = |letter: char| !letter.is_control() && letter != '\\' && !is_deceptive(letter);
    if path.chars().count() > MAX_PATH_CHARS || !path.split('/').all(is_segment) || !path.chars().all(is_plain) {
        return Err("must be the path of a file in its repository, such as `src/main.rs`".into());
    }
    if path.split('/').any(|segment| segment.eq_ignore_ascii_case(".git")) {
        return Err("must not be in `.git`".into());
    }
    Ok(())
}

/// Checks that a name can be that of a branch: git permits no empty and no relative part, and no white space.
pub(super) fn check_branch_form(branch: &str) -> Result<(), String> {
    let is_lock = |part: &str| part.as_bytes().ends_with(b".lock");
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !is_lock(part);
    let is_plain = |letter: char| {
        !letter.is_control() && !letter.is_whitespace() && !"\\~^:?*[".contains(letter) && !is_deceptive(letter)
    };
    if branch.contains("..") || !branch.split('/').all(is_part) || !branch.chars().all(is_plain) {
        return Err("must be the name of a branch, such as `main`".into());
    }
    Ok(())
}

/// Returns whether a character makes code look different from what it does: controls, directions of text, and
/// characters without a shape.
fn is_deceptive(letter: char) -> bool {
    (letter.is_control() && !matches!(letter, '\n' | '\r' | '\t' | '\u{c}'))
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        || matches!(letter, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::fix) fn policy() -> FixPolicy {
        FixPolicy {
            max_changed_lines: 4,
            forbidden_paths: vec![".github/".into(), "Cargo.lock".into()],
            auto_approval: Some(AutoApproval { confidence: 90, changed_lines: 2 }),
        }
    }

    #[test]
    fn protected_and_foreign_paths_are_refused() {
        for path in ["src/main.rs", "a b/ü.rs", ".githubs/x", "github/x", "Cargo.lock.md"] {
            assert_eq!(policy().check_path(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a//x",
            "./x",
            "a\\x",
            "a\nx",
            "a\u{202e}x",
            ".git/config",
            "sub/.GIT/hooks/x",
            ".github/workflows/ci.yml",
            "sub/.github/x",
            "Cargo.lock",
            "sub/Cargo.lock",
        ] {
            assert!(policy().check_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn names_that_no_branch_has_are_refused() {
        for branch in ["main", "feature/ü-1", "release/1.2", "a#b"] {
            assert_eq!(check_branch_form(branch), Ok(()), "{branch}");
        }
        for branch in ["", "..", "../../x", "a/../b", "a//b", "/a", "a/", ".a", "a b", "a\\b", "a?b", "a.lock"] {
            assert!(check_branch_form(branch).is_err(), "{branch}");
        }
    }

    #[test]
    fn a_change_is_small_and_visible() {
        assert_eq!(policy().check_change("a\n", "b\n", 4), Ok(()));
        assert!(policy().check_change("a\n", "b\n", 5).is_err());
        assert!(policy().check_change("a\n", "a\u{202e}\n", 1).unwrap_err().contains("U+202E"));
        assert_eq!(policy().check_change("a\u{200d}\n", "b\u{200d}\n", 1), Ok(()));
    }

    #[test]
    fn the_rule_approves_small_and_certain_patches() {
        for (confidence, lines, expected) in [(90, 2, true), (89, 2, false), (100, 3, false)] {
            assert_eq!(policy().approves(confidence, lines), expected);
        }
        let by_persons = FixPolicy { auto_approval: None, ..policy() };
        assert!(!by_persons.approves(100, 1));
    }
}
