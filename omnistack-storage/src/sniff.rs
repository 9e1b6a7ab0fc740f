//! What a file is: its first bytes say it, and what a sender claims is held against them.

/// Bytes that are looked at.
pub(crate) const FIRST: usize = 8 * 1024;

const BINARY: &str = "application/octet-stream";

/// Text that may be called so, since nothing in it says otherwise. None of these runs in a browser.
const TEXTS: &[&str] = &[
    "application/json",
    "application/jsonl",
    "application/toml",
    "application/x-ndjson",
    "application/yaml",
    "text/calendar",
    "text/csv",
    "text/markdown",
    "text/plain",
    "text/tab-separated-values",
    "text/vcard",
];

/// What the first bytes say it is; of plain text, what the sender says, if that is one of the harmless kinds.
///
/// # Errors
/// What it is, when the sender says that it is a picture, a film, music or a PDF, and it is not.
pub(crate) fn media_type(first: &[u8], claimed: Option<&str>) -> Result<String, String> {
    let claimed = claimed.map(essence).filter(|claimed| !claimed.is_empty());
    let found = infer::get(first).map(|kind| kind.mime_type());
    let found = match found {
        Some("text/html") => "text/html",
        Some("text/xml") if is_svg(first) => "image/svg+xml",
        Some(found) => found,
        None if is_svg(first) => "image/svg+xml",
        None if is_text(first) => claimed.as_deref().filter(|claimed| TEXTS.contains(claimed)).unwrap_or("text/plain"),
        None => BINARY,
    };
    if let Some(claimed) = &claimed {
        let kind = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
        let known = found != BINARY || kind(claimed) == "image" || claimed == "application/pdf";
        let differs = match kind(claimed).as_str() {
            "image" | "audio" | "video" => !alike(&kind(claimed), &kind(found)),
            _ => claimed == "application/pdf" && found != claimed.as_str(),
        };
        if differs && known {
            return Err(found.to_owned());
        }
    }
    Ok(found.to_owned())
}

/// Films and music share containers.
fn alike(a: &str, b: &str) -> bool {
    a == b || (matches!(a, "audio" | "video") && matches!(b, "audio" | "video"))
}

/// Without parameters, in lower case.
fn essence(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether it can be a media type at all.
pub(crate) fn is_media_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    text.len() <= 255
        && essence(text).split_once('/').is_some_and(|(kind, name)| token(kind) && token(name))
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// UTF-8 without control characters. What is cut off at the end may be half a character.
fn is_text(first: &[u8]) -> bool {
    let text = match str::from_utf8(first) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && first.len() >= FIRST => {
            str::from_utf8(&first[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.chars().any(|character| character.is_control() && !matches!(character, '\t' | '\n' | '\r' | '\u{c}'))
}

fn is_svg(first: &[u8]) -> bool {
    is_text(first) && first.windows(4).any(|four| four.eq_ignore_ascii_case(b"<svg"))
}

/// Whether these patterns take it: `image/*`, `application/pdf`. None at all take everything.
pub(crate) fn is_taken(patterns: &[String], media_type: &str) -> bool {
    let takes = |pattern: &String| match pattern.strip_suffix("/*") {
        Some(kind) => media_type.split('/').next() == Some(kind),
        None => pattern == media_type || pattern == "*",
    };
    patterns.is_empty() || patterns.iter().any(takes)
}

/// Whether a browser may show it on the app's own address: nothing that runs.
pub(crate) fn may_be_shown(media_type: &str) -> bool {
    let kind = media_type.split('/').next().unwrap_or_default();
    (matches!(kind, "image" | "audio" | "video") && media_type != "image/svg+xml")
        || matches!(media_type, "text/plain" | "application/pdf")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    #[test]
    fn the_first_bytes_say_what_it_is() {
        for (first, claimed, found) in [
            (PNG, Some("image/png"), Ok("image/png")),
            (PNG, Some("image/jpeg"), Ok("image/png")),
            (PNG, None, Ok("image/png")),
            (PNG, Some("text/plain"), Ok("image/png")),
            (PNG, Some("application/octet-stream"), Ok("image/png")),
            (PNG, Some("application/pdf"), Err("image/png")),
            (b"%PDF-1.7", Some("application/pdf"), Ok("application/pdf")),
            (b"MZ\x90\0", Some("image/png"), Err("application/vnd.microsoft.portable-executable")),
            (b"\x01\x02\x03", Some("image/png"), Err("application/octet-stream")),
            (b"\x01\x02\x03", Some("audio/mpeg"), Ok("application/octet-stream")),
            (b"\x01\x02\x03", None, Ok("application/octet-stream")),
            (b"a,b\n1,2", Some("text/csv; charset=utf-8"), Ok("text/csv")),
            (b"a,b\n1,2", Some("text/html"), Ok("text/plain")),
            (b"a,b\n1,2", Some("application/vnd.ms-excel"), Ok("text/plain")),
            ("Grüße".as_bytes(), None, Ok("text/plain")),
            (b"", None, Ok("text/plain")),
            (b"", Some("image/png"), Err("text/plain")),
            (b"<!DOCTYPE html><script>", Some("text/plain"), Ok("text/html")),
            (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x'>", Some("image/png"), Ok("image/svg+xml")),
            (b"<?xml version='1.0'?><SVG>", Some("text/plain"), Ok("image/svg+xml")),
        ] {
            let expected = found.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(media_type(first, claimed), expected, "{claimed:?} {}", String::from_utf8_lossy(first));
        }
    }

    #[test]
    fn which_are_taken_and_shown() {
        let patterns = ["image/*".to_owned(), "application/pdf".to_owned()];
        assert!(is_taken(&patterns, "image/png") && is_taken(&patterns, "application/pdf") && is_taken(&[], "a/b"));
        assert!(!is_taken(&patterns, "text/html") && !is_taken(&patterns, "imagery/png"));
        assert!(may_be_shown("image/png") && may_be_shown("text/plain"));
        assert!(!may_be_shown("image/svg+xml") && !may_be_shown("text/html") && !may_be_shown("application/json"));
        assert!(is_media_type("text/csv; charset=utf-8") && !is_media_type("text") && !is_media_type("a/b\r\nx: y"));
    }
}
