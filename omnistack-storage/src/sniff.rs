//! Detection of media types from the first bytes of a file, and comparison with the type that the client claims.

mod container;
mod text;

use text::TextEncoding;

/// Number of bytes of a file that are examined.
pub(crate) const SNIFFED_BYTES: usize = 8 * 1024;

const BINARY: &str = "application/octet-stream";

/// Returns the media type of a file that begins with these bytes. The claimed type is used if it is more specific
/// than the detected one and harmless: a kind of text that browsers do not execute, a kind of document in a
/// container format, audio or video in a container format of both. Text that is valid UTF-8 gets the parameter
/// `charset=utf-8`.
///
/// # Errors
/// The detected type, if the client claims an image, audio, video or PDF and the bytes are something else.
pub(crate) fn media_type(first: &[u8], claimed: Option<&str>) -> Result<String, String> {
    let claim = claimed.map(essence).filter(|claim| !claim.is_empty());
    let found = match infer::get(first).map(|kind| kind.mime_type()) {
        Some("text/html") => "text/html".into(),
        Some("text/xml") if is_svg(first) => "image/svg+xml".into(),
        Some(found) => container::refine(found, first, claim.as_deref()),
        None if is_svg(first) => "image/svg+xml".into(),
        None => text::text_type(first, claim.as_deref()).unwrap_or(BINARY).to_owned(),
    };
    if let Some(claim) = claim {
        let known = found != BINARY || top_level_type(&claim) == "image" || claim == "application/pdf";
        let differs = match top_level_type(&claim) {
            "image" | "audio" | "video" => !same_top_level_type(top_level_type(&claim), top_level_type(&found)),
            _ => claim == "application/pdf" && found != claim,
        };
        if differs && known {
            return Err(found);
        }
    }
    Ok(text::with_charset(found, first, claimed))
}

fn top_level_type(media_type: &str) -> &str {
    media_type.split('/').next().unwrap_or_default()
}

/// Returns whether two top-level types are equal. Audio and video count as equal, because they share container
/// formats.
fn same_top_level_type(a: &str, b: &str) -> bool {
    a == b || (matches!(a, "audio" | "video") && matches!(b, "audio" | "video"))
}

/// Returns a media type without its parameters, in lower case.
pub(crate) fn essence(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns whether a text has the form of a media type.
pub(crate) fn is_media_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    text.len() <= 255
        && essence(text).split_once('/').is_some_and(|(kind, name)| token(kind) && token(name))
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn is_svg(first: &[u8]) -> bool {
    TextEncoding::detect(first).is_some() && first.windows(4).any(|four| four.eq_ignore_ascii_case(b"<svg"))
}

/// Returns whether a media type matches one of the patterns, such as `image/*` or `application/pdf`. Case does
/// not matter. An empty list of patterns matches everything.
pub(crate) fn matches_any(patterns: &[String], media_type: &str) -> bool {
    let media_type = essence(media_type);
    let takes = |pattern: &String| match pattern.strip_suffix("/*") {
        Some(wanted) => wanted.eq_ignore_ascii_case(top_level_type(&media_type)),
        None => pattern.eq_ignore_ascii_case(&media_type) || pattern == "*",
    };
    patterns.is_empty() || patterns.iter().any(takes)
}

/// Returns whether media types can match a pattern: `*`, `image/*`, or a media type without parameters.
pub(crate) fn is_pattern(pattern: &str) -> bool {
    let example = pattern.strip_suffix("/*").map_or_else(|| pattern.to_owned(), |kind| format!("{kind}/any"));
    pattern == "*" || (is_media_type(&example) && !pattern.contains(';'))
}

/// Returns whether browsers may display a file of this type on the app's origin, because nothing in it is
/// executed.
pub(crate) fn is_safe_inline(media_type: &str) -> bool {
    let media_type = essence(media_type);
    (matches!(top_level_type(&media_type), "image" | "audio" | "video") && media_type != "image/svg+xml")
        || matches!(media_type.as_str(), "text/plain" | "application/pdf")
}

#[cfg(test)]
mod tests;
