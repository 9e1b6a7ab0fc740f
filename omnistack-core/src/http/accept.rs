//! The `Accept` header (RFC 9110, section 12.5.1).

use http::{HeaderMap, header};

/// Returns whether `Accept` names the media type `wanted` with a quality above zero and at least that of `other`.
/// Wildcards are ignored: a client that accepts any type gets the default.
///
/// ```
/// use omnistack_core::http::{HeaderMap, HeaderValue, header, prefers};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(header::ACCEPT, HeaderValue::from_static("text/html, application/json;q=0.5"));
/// assert!(prefers(&headers, "text/html", "application/json"));
/// assert!(!prefers(&headers, "application/json", "text/html"));
/// ```
#[must_use]
pub fn prefers(headers: &HeaderMap, wanted: &str, other: &str) -> bool {
    quality(headers, wanted).is_some_and(|wanted| wanted > 0.0 && wanted >= quality(headers, other).unwrap_or(0.0))
}

/// Returns the quality of a media type that `Accept` names: 1 without a `q` parameter, 0 with a malformed one.
/// Returns `None` if `Accept` does not name the type.
fn quality(headers: &HeaderMap, media_type: &str) -> Option<f32> {
    let ranges =
        headers.get_all(header::ACCEPT).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut named = ranges.filter_map(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        parts.next().filter(|name| name.eq_ignore_ascii_case(media_type.as_bytes())).map(|_| weight(parts))
    });
    named.next()
}

/// Returns the quality among the parameters of a media range.
fn weight<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> f32 {
    let q = parameters.find_map(|parameter| match parameter {
        [b'q' | b'Q', b'=', value @ ..] => Some(value),
        _ => None,
    });
    let Some(q) = q else { return 1.0 };
    let number = str::from_utf8(q).ok().and_then(|text| text.parse::<f32>().ok());
    number.filter(|number| (0.0..=1.0).contains(number)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn qualities_are_compared() {
        for (accept, expected) in [
            (&["text/html"][..], true),
            (&["Text/HTML"], true),
            (&["text/html;q=0.1"], true),
            (&["text/html ; level=1 ; Q=0.1"], true),
            (&["image/png, text/html"], true),
            (&["image/png", "text/html"], true),
            (&["text/html;q=0.5, application/json;q=0.5"], true),
            (&["text/html;q=0.5, */*"], true),
            (&["text/html, application/json;q=0"], true),
            (&["text/html;q=0"], false),
            (&["text/html;q=0.000, */*"], false),
            (&["text/html;q=0.4, application/json;q=0.5"], false),
            (&["text/html;q=0.4, application/json"], false),
            (&["text/html;q="], false),
            (&["text/html;q=nan"], false),
            (&["text/html;q=-1"], false),
            (&["text/html;q=2"], false),
            (&["text/htmlx"], false),
            (&["x/text/html"], false),
            (&["text/*"], false),
            (&["*/*"], false),
            (&["application/json"], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(prefers(&headers, "text/html", "application/json"), expected, "{accept:?}");
        }
    }
}
