//! Normalisation of messages: what differs between errors with the same cause is replaced by placeholders.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The parts of a message that are replaced, in the order in which they are tried at each position.
const PARTS: [(&str, &str); 9] = [
    ("url", r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>)]+"#),
    ("email", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    ("uuid", r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    ("time", r"\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"),
    ("ip", r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"),
    ("path", r"(?:[\w.-]+)?(?:/[\w.@%+~:-]+){2,}/?"),
    // An apostrophe within a word begins no quoted text.
    ("text", r#""[^"\n]*"|\B'[^'\n]+'\B"#),
    ("number", r"\b\d+(?:[.,]\d+)*(?:(?:ns|us|µs|ms|s|min|m|h|d|B|[kKMG]i?B)\b|%|\b)|_\d+\b"),
    ("hex", r"\b(?:0x[0-9a-fA-F]+|[0-9a-f]{8,}|[0-9A-F]{8,})\b"),
];

static VARIABLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let parts: Vec<_> = PARTS.iter().map(|(name, form)| format!("(?P<{name}>{form})")).collect();
    Regex::new(&parts.join("|")).ok()
});

/// Returns the message with numbers, UUIDs, hexadecimal numbers, times, quoted texts, mail addresses, IP addresses,
/// URLs and paths replaced by placeholders such as `<number>`, and with single spaces.
pub(super) fn normalize(message: &str) -> String {
    let replaced = match &*VARIABLE {
        Some(variable) => variable.replace_all(message, |found: &Captures<'_>| {
            let name = PARTS.iter().map(|(name, _)| *name).find(|name| found.name(name).is_some());
            format!("<{}>", name.unwrap_or("text"))
        }),
        None => message.into(),
    };
    let mut text = String::with_capacity(replaced.len());
    for word in replaced.split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

/// Returns the first characters of a text, at most `most`.
pub(super) fn truncate(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_replaced() {
        for (message, expected) in [
            ("user 17 not found", "user <number> not found"),
            ("took 1.5s, limit 300ms", "took <number>, limit <number>"),
            ("80% of 10 MiB", "<number> of <number> MiB"),
            ("tenant_42 is full", "tenant<number> is full"),
            ("utf8 and v2 stay", "utf8 and v2 stay"),
            ("file 0190a7c8-0000-7000-8000-000000000001 is gone", "file <uuid> is gone"),
            ("at 0x7ffd and deadbeef01", "at <hex> and <hex>"),
            ("order 12345678 and order 7", "order <number> and order <number>"),
            (r#"no column "user name" in 'notes'"#, "no column <text> in <text>"),
            ("can't open it; don't retry", "can't open it; don't retry"),
            ("mail to ada.b@shop.example.com bounced", "mail to <email> bounced"),
            ("GET https://api.example.com/v1?key=7 failed", "GET <url> failed"),
            ("no file /srv/data/7/a.png", "no file <path>"),
            ("connect 10.0.0.7:5432 refused", "connect <ip> refused"),
            ("since 2030-01-31T12:00:00Z,  and\n 2030-01-31", "since <time>, and <time>"),
            ("called `Option::unwrap()` on a `None` value", "called `Option::unwrap()` on a `None` value"),
        ] {
            assert_eq!(normalize(message), expected);
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(truncate("größe", 3), "grö");
        assert_eq!(truncate("ab", 3), "ab");
    }
}
