//! The password policy (NIST SP 800-63B-4, section 3.1.1.2; OWASP ASVS 5.0.0, section 6.2).
//!
//! A password must be long, and must not be one that attackers guess first: a common one, one made of the user's
//! address or the app's name, a repetition or a sequence. There are no rules about kinds of characters.

use super::common_passwords;

/// The maximum length of a password, in characters.
pub const MAX_PASSWORD_CHARS: usize = 256;
/// The minimum number of characters that a password must have besides a common or known word.
const MIN_OTHER_CHARS: usize = 8;
/// The minimum length of a known word, in characters. Shorter words occur in any sentence.
const MIN_WORD_CHARS: usize = 4;

/// A reason for which a password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasswordProblem {
    /// It has fewer characters than this minimum.
    Short(usize),
    /// It has more than [`MAX_PASSWORD_CHARS`] characters.
    Long,
    /// It is a common password.
    Common,
    /// It is little more than the user's address or the app's name.
    Guessable,
    /// It is a repetition or a sequence.
    Repetitive,
    /// It is known from a data breach.
    Breached,
}

impl PasswordProblem {
    /// Returns the message, to be read after the name of the field.
    pub(crate) fn message(self) -> String {
        match self {
            Self::Short(least) => {
                format!("must have at least {least} characters; use a few unrelated words")
            }
            Self::Long => format!("must have at most {MAX_PASSWORD_CHARS} characters"),
            Self::Common => "is a common password; choose another one".into(),
            Self::Guessable => {
                "is little more than your email address or the name of this app; choose another one".into()
            }
            Self::Repetitive => "is a repetition or a sequence; choose another one".into(),
            Self::Breached => "is known from a data breach; choose another one".into(),
        }
    }
}

/// Returns the first problem of a password with a minimum length of `least` characters, or `None` if it is accepted.
/// `words` are words that an attacker would guess for this user.
pub(crate) fn find_problem(password: &str, least: usize, words: &[String]) -> Option<PasswordProblem> {
    let letters: Vec<char> = password.to_lowercase().chars().collect();
    let lower: String = letters.iter().collect();
    let length = password.chars().count();
    if length < least {
        return Some(PasswordProblem::Short(least));
    }
    if length > MAX_PASSWORD_CHARS {
        return Some(PasswordProblem::Long);
    }
    let unit = &letters[..period(&letters)];
    let word = lower.trim_matches(|letter: char| !letter.is_alphabetic());
    let little_else = letters.len() - word.chars().count() < MIN_OTHER_CHARS;
    if common_passwords::contains(&lower)
        || common_passwords::contains(&unit.iter().collect::<String>())
        || (little_else && common_passwords::contains(word))
    {
        return Some(PasswordProblem::Common);
    }
    if (unit.len() < MIN_OTHER_CHARS && unit.len() < letters.len()) || is_run(&letters) {
        return Some(PasswordProblem::Repetitive);
    }
    let mut known = words.iter().map(|word| word.to_lowercase()).filter(|word| word.chars().count() >= MIN_WORD_CHARS);
    known
        .any(|word| lower.contains(&word) && lower.replace(&word, "").chars().count() < MIN_OTHER_CHARS)
        .then_some(PasswordProblem::Guessable)
}

/// Returns the length of the shortest prefix whose repetition makes the whole text; the last repetition may be cut
/// short.
fn period(letters: &[char]) -> usize {
    (1..=letters.len() / 2)
        .find(|period| letters.iter().zip(&letters[*period..]).all(|(a, b)| a == b))
        .unwrap_or(letters.len())
}

/// Returns whether each character is the successor, or each the predecessor, of the one before, as in `abcdefgh`,
/// `87654321` and `7890123`.
fn is_run(letters: &[char]) -> bool {
    let next = |a: char, b: char| u32::from(a) + 1 == u32::from(b) || (a == '9' && b == '0');
    let mut pairs = letters.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.clone().all(|(a, b)| next(a, b)) || pairs.all(|(a, b)| next(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_what_is_guessed_first() {
        let words = ["ada.lovelace".to_owned(), "Plotter".to_owned(), "ada".to_owned()];
        let long = "x y".repeat(80) + "and no more words"; // 257
        for (password, least, expected) in [
            ("correct horse battery", 15, None),
            ("ein Fisch fährt Rad", 15, None),
            ("密码密碼パスワード比較的長い", 8, None),
            ("fourteen chars", 15, Some(PasswordProblem::Short(15))),
            ("fourteen chars", 8, None),
            ("ñandú äöü", 9, None),
            (&long, 15, Some(PasswordProblem::Long)),
            (&long[1..], 15, None),
            ("PassWord", 8, Some(PasswordProblem::Common)),
            ("passwordPASSWORD", 15, Some(PasswordProblem::Common)),
            ("Password1234567", 15, Some(PasswordProblem::Common)),
            ("password of a giraffe", 15, None),
            ("aaaaaaaaaaaaaaaaaaa", 15, Some(PasswordProblem::Repetitive)),
            ("abcabcabcabcabcab", 15, Some(PasswordProblem::Repetitive)),
            ("7890123456789012", 15, Some(PasswordProblem::Repetitive)),
            ("zyxwvutsrqponmlk", 15, Some(PasswordProblem::Repetitive)),
            ("Ada.Lovelace1815", 15, Some(PasswordProblem::Guessable)),
            ("plotterplotter!", 15, Some(PasswordProblem::Guessable)),
            ("ada.lovelace liked gambling", 15, None),
            ("ada was no typist", 15, None),
        ] {
            assert_eq!(find_problem(password, least, &words), expected, "{password}");
        }
    }
}
