//! Where a browser goes at the end: a path of the app, and nowhere else.

use percent_encoding::percent_decode_str;

/// The longest path, in bytes.
const LONGEST: usize = 1000;
/// How often it is decoded to see what somebody further on would make of it.
const DECODED: usize = 3;

/// Whether it is a path of the app, whoever reads it and however often it is decoded. Browsers take `\` for `/`, skip tabs
/// and newlines, and `//host` is another's host.
pub(crate) fn is_path(text: &str) -> bool {
    if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let mut path = path.to_owned();
    for _ in 0..=DECODED {
        let rooted = path.starts_with('/') && !path.contains("//") && !path.contains('\\');
        let dots = path.split('/').any(|part| part == "." || part == "..");
        if !rooted || dots || path.chars().any(char::is_control) {
            return false;
        }
        match percent_decode_str(&path).decode_utf8() {
            Ok(decoded) if decoded == path => return true,
            Ok(decoded) => path = decoded.into_owned(),
            Err(_) => return false,
        }
    }
    // Encoded that often, it is meant to deceive.
    false
}

#[cfg(test)]
mod tests {
    use super::is_path;

    #[test]
    fn paths_and_what_leads_elsewhere() {
        for (text, expected) in [
            ("/", true),
            ("/projects/7?tab=files&q=a%20b#top", true),
            ("/search?next=https://example.com//x", true),
            ("/caf%C3%A9", true),
            ("", false),
            ("projects", false),
            ("//evil.example", false),
            ("///evil.example", false),
            ("/\\evil.example", false),
            ("\\\\evil.example", false),
            ("/a\\b", false),
            ("https:evil.example", false),
            ("https://evil.example/", false),
            ("javascript:alert(1)", false),
            ("/%2F/evil.example", false),
            ("/%2fevil.example", false),
            ("/%5Cevil.example", false),
            ("/%255Cevil.example", false),
            ("/%25252Fevil.example", false),
            ("/..//evil.example", false),
            ("/a/%2e%2e//evil.example", false),
            ("/%2525252525252Fevil.example", false),
            ("/\t/evil.example", false),
            ("/%09/evil.example", false),
            ("/%0d%0aset-cookie:a=b", false),
            ("/\r\nlocation: https://evil.example", false),
            (" /x", false),
            ("/ x", false),
            ("/caf\u{e9}", false),
            ("/%ff", false),
            ("@evil.example", false),
            (".evil.example", false),
        ] {
            assert_eq!(is_path(text), expected, "{text:?}");
        }
        assert!(!is_path(&format!("/{}", "a".repeat(1000))));
    }
}
