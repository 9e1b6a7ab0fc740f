//! Which passwords are taken (NIST SP 800-63B-4, section 3.1.1.2; OWASP ASVS 5.0.0, section 6.2).
//!
//! A password needs length, and must not be one that is guessed first: a common one, one made of the address or of the
//! app's name, a repetition or a run. Nothing is asked about the kinds of characters in it.

use super::list;

/// Longest password, in characters.
pub const LONGEST: usize = 256;
/// Characters that must be left of a password once a known word is taken from it.
const REST: usize = 8;
/// Shorter words than this are no known words: they are in any sentence.
const SHORTEST_WORD: usize = 4;

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Short(usize),
    Long,
    Common,
    Known,
    Repetitive,
    Breached,
}

impl Problem {
    /// To be read after the field's name.
    pub(crate) fn message(self) -> String {
        match self {
            Self::Short(least) => {
                format!("must have at least {least} characters; a few words that don't belong together will do")
            }
            Self::Long => format!("must have at most {LONGEST} characters"),
            Self::Common => "is one of the passwords that are tried first".into(),
            Self::Known => "is little more than your address or the name of this app".into(),
            Self::Repetitive => "is a repetition or a run".into(),
            Self::Breached => "was found in a breach elsewhere: others know it".into(),
        }
    }
}

/// What is wrong with a password that must have so many characters, given words that are easily guessed of this user.
pub(crate) fn problem(password: &str, least: usize, words: &[String]) -> Option<Problem> {
    let letters: Vec<char> = password.to_lowercase().chars().collect();
    let lower: String = letters.iter().collect();
    let length = password.chars().count();
    if length < least {
        return Some(Problem::Short(least));
    }
    if length > LONGEST {
        return Some(Problem::Long);
    }
    let unit = &letters[..period(&letters)];
    let word = lower.trim_matches(|letter: char| !letter.is_alphabetic());
    let little_else = letters.len() - word.chars().count() < REST;
    if list::contains(&lower)
        || list::contains(&unit.iter().collect::<String>())
        || (little_else && list::contains(word))
    {
        return Some(Problem::Common);
    }
    if (unit.len() < REST && unit.len() < letters.len()) || is_run(&letters) {
        return Some(Problem::Repetitive);
    }
    let mut known = words.iter().map(|word| word.to_lowercase()).filter(|word| word.chars().count() >= SHORTEST_WORD);
    known.any(|word| lower.contains(&word) && lower.replace(&word, "").chars().count() < REST).then_some(Problem::Known)
}

/// The length of the shortest beginning that, repeated, makes the whole; the last time it may be cut short.
fn period(letters: &[char]) -> usize {
    (1..=letters.len() / 2)
        .find(|period| letters.iter().zip(&letters[*period..]).all(|(a, b)| a == b))
        .unwrap_or(letters.len())
}

/// `abcdefgh`, `87654321`, `7890123`: each letter is the next, or the one before.
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
            ("fourteen chars", 15, Some(Problem::Short(15))),
            ("fourteen chars", 8, None),
            ("ñandú äöü", 9, None),
            (&long, 15, Some(Problem::Long)),
            (&long[1..], 15, None),
            ("PassWord", 8, Some(Problem::Common)),
            ("passwordPASSWORD", 15, Some(Problem::Common)),
            ("Password1234567", 15, Some(Problem::Common)),
            ("password of a giraffe", 15, None),
            ("aaaaaaaaaaaaaaaaaaa", 15, Some(Problem::Repetitive)),
            ("abcabcabcabcabcab", 15, Some(Problem::Repetitive)),
            ("7890123456789012", 15, Some(Problem::Repetitive)),
            ("zyxwvutsrqponmlk", 15, Some(Problem::Repetitive)),
            ("Ada.Lovelace1815", 15, Some(Problem::Known)),
            ("plotterplotter!", 15, Some(Problem::Known)),
            ("ada.lovelace liked gambling", 15, None),
            ("ada was no typist", 15, None),
        ] {
            assert_eq!(problem(password, least, &words), expected, "{password}");
        }
    }
}
