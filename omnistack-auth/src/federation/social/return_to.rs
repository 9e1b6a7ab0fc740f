//! Validates the path that a browser goes to after sign-in, so that it stays within the app.

use percent_encoding::percent_decode_str;

/// The maximum length of a path, in bytes.
const MAX_PATH_BYTES: usize = 1000;
/// The maximum number of percent-decodings that later readers may apply.
const MAX_DECODINGS: usize = 3;

/// Returns whether the text is a path of the app, even after repeated percent-decoding. Browsers treat `\` as `/` and
/// skip tabs and newlines, and `//host` leads to another host.
pub(crate) fn is_app_path(text: &str) -> bool {
    if text.len() > MAX_PATH_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let mut path = path.to_owned();
    for _ in 0..=MAX_DECODINGS {
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
    // A path that is encoded more often is meant to deceive.
    false
}

#[cfg(test)]
mod tests {
    use super::is_app_path;

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
            assert_eq!(is_app_path(text), expected, "{text:?}");
        }
        assert!(!is_app_path(&format!("/{}", "a".repeat(1000))));
    }
}
