//! Validation of the names that users give to themselves, teams, projects and keys.
//!
//! In a request body use the type [`text::Name`](crate::text::Name), which applies [`is_name`] and a limit.
//!
//! A name is shown to other users: in emails, in headers, in lists. So a name must not contain a line break, a
//! character that hides or reorders the text after it, or text that mail programs turn into a link.
//!
//! ```
//! use garde::Validate;
//! use omnistack_core::name::{without_links, is_name};
//!
//! #[derive(Validate)]
//! struct NewProject {
//!     #[garde(length(chars, min = 1, max = 100), custom(is_name))]
//!     name: String,
//! }
//!
//! assert!(NewProject { name: "Apollo 11, St. Gallen".into() }.validate().is_ok());
//! assert!(NewProject { name: "You won! evil.example/prize".into() }.validate().is_err());
//!
//! // A name from another system, which can't be rejected.
//! assert_eq!(without_links("You won! http://evil.example/prize"), "You won! http: //evil. example/prize");
//! ```

/// Rejects a text that can't be a name, as a custom rule of [`garde`].
///
/// # Errors
/// Fails for an empty text, line breaks, control characters, characters that change the direction of text (U+202A to
/// U+202E, U+2066 to U+2069), `://`, and hosts such as `www.example.com` and `192.0.2.7`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it with a reference")]
pub fn is_name(text: &str, (): &()) -> garde::Result {
    let problem = if text.trim().is_empty() {
        "must not be empty"
    } else if text.chars().any(is_unsafe_character) {
        "contains a line break, a control character or a character that changes the direction of text: remove it"
    } else if text.contains("://") || text.split(|character| !is_host_character(character)).any(is_host) {
        "contains a link or a host such as `www.example.com`: remove it, or put a space after the dot"
    } else {
        return Ok(());
    };
    Err(garde::Error::new(problem))
}

/// Like [`is_name`], but accepts an empty text.
///
/// # Errors
/// Fails like [`is_name`], except for an empty text.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it with a reference")]
pub fn is_name_or_empty(text: &str, context: &()) -> garde::Result {
    if text.is_empty() { Ok(()) } else { is_name(text, context) }
}

/// Returns the text on one line, with a space after the `:` of `://` and after each dot of a host, so that mail
/// programs find no link in it.
pub fn without_links(text: &str) -> String {
    let plain: String =
        text.chars().map(|character| if is_unsafe_character(character) { ' ' } else { character }).collect();
    let mut written = String::with_capacity(plain.len());
    for (run, rest) in host_candidates(&plain) {
        if is_host(run) {
            for character in run.chars() {
                written.push(character);
                if is_dot(character) {
                    written.push(' ');
                }
            }
        } else {
            written.push_str(run);
        }
        written.push_str(rest);
    }
    written.replace("://", ": //")
}

/// Returns whether a character must not be in a line of text: a control character, a line break, or a character that
/// changes the direction of the text after it, with which a name could hide the rest of its line.
pub fn is_unsafe_character(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Splits a text into the longest parts that may be hosts, each with the separator after it.
fn host_candidates(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_inclusive(|character| !is_host_character(character)).map(|part| {
        let run = part.trim_end_matches(|character| !is_host_character(character));
        (run, &part[run.len()..])
    })
}

fn is_host_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_') || is_dot(character) || is_ignored(character)
}

/// The dots of domain names (RFC 3490, section 3.1).
fn is_dot(character: char) -> bool {
    matches!(character, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
}

/// Returns whether a character is invisible and ignored in domain names (UTS #46).
fn is_ignored(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
}

/// Returns whether a run of letters, digits, hyphens and dots contains a host: a label followed by a possible
/// top-level domain, or an IPv4 address.
fn is_host(run: &str) -> bool {
    let seen: String = run.chars().filter(|character| !is_ignored(*character)).collect();
    let labels: Vec<&str> = seen.split(is_dot).collect();
    let is_top = |label: &str| {
        label.starts_with("xn--") || (label.chars().count() >= 2 && label.chars().all(char::is_alphabetic))
    };
    let is_octet = |label: &str| label.parse::<u8>().is_ok();
    let is_domain = labels.windows(2).any(|pair| !pair[0].is_empty() && is_top(pair[1]));
    is_domain || labels.windows(4).any(|four| four.iter().all(|label| is_octet(label)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_is_none() {
        for name in [
            "Ada Lovelace",
            "Acme, Inc.",
            "St. Gallen",
            "J.R.R. Tolkien",
            "Team \u{1f469}\u{200d}\u{1f680} 2.0",
            "v1.2.3",
            "3.5mm jacks",
            "wait...",
            "wait... what",
            "a / b: c",
            "\u{645}\u{200f} \u{5d0}",
            "モーニング娘。",
            "O'Neil & Søn (50%)",
        ] {
            assert!(is_name(name, &()).is_ok(), "{name:?}");
            assert_eq!(without_links(name), name);
        }
        for (text, shown) in [
            ("evil.example", "evil. example"),
            ("Win at evil.example/prize now", "Win at evil. example/prize now"),
            ("www.evil.example", "www. evil. example"),
            ("http://localhost/x", "http: //localhost/x"),
            ("ada@evil.example", "ada@evil. example"),
            ("evil.example.", "evil. example. "),
            ("evil。example", "evil。 example"),
            ("evil\u{200b}.com", "evil\u{200b}. com"),
            ("bücher.de", "bücher. de"),
            ("пример.рф", "пример. рф"),
            ("a.xn--p1ai", "a. xn--p1ai"),
            ("192.0.2.7:80", "192. 0. 2. 7:80"),
            ("a\nb", "a b"),
            ("a\u{2028}b", "a b"),
            ("a\u{202e}b", "a b"),
            ("a\u{1b}[31m", "a [31m"),
        ] {
            assert!(is_name(text, &()).is_err(), "{text:?}");
            assert_eq!(without_links(text), shown);
            assert!(is_name(without_links(text).trim(), &()).is_ok(), "{text:?}");
        }
        assert!(is_name(" ", &()).is_err() && is_name_or_empty("", &()).is_ok());
    }
}
