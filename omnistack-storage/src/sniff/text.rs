//! Plain text: its encoding and its media type.

use super::{SNIFFED_BYTES, essence};

/// Media types of text that a client may claim, because the bytes do not tell them apart. Browsers execute none
/// of them.
const CLAIMABLE_TYPES: &[&str] = &[
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

/// Aliases of `text/csv`. Browsers on Windows send `application/vnd.ms-excel` for CSV files if Excel is
/// installed.
const CSV_NAMES: &[&str] =
    &["application/csv", "application/vnd.ms-excel", "application/x-csv", "text/comma-separated-values", "text/x-csv"];

/// The encoding of plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextEncoding {
    /// UTF-8, which includes ASCII.
    Utf8,
    /// UTF-16 with a byte order mark.
    Utf16,
    /// An encoding with one byte per character, such as Windows-1252 or Windows-1251. The bytes do not tell
    /// which.
    EightBit,
}

impl TextEncoding {
    /// Returns the encoding of text without control characters, or `None` for other bytes. A character that is
    /// cut off at the end is accepted.
    pub(super) fn detect(first: &[u8]) -> Option<Self> {
        if let Some(text) = utf8(first) {
            return text.chars().all(is_printed).then_some(Self::Utf8);
        }
        let unit = match first {
            [0xff, 0xfe, ..] => u16::from_le_bytes,
            [0xfe, 0xff, ..] => u16::from_be_bytes,
            _ => return first.iter().all(|byte| is_printed_byte(*byte)).then_some(Self::EightBit),
        };
        let units = first.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        // A single half of a surrogate pair may be cut off at the end.
        let printed = char::decode_utf16(units).all(|character| character.map_or(true, is_printed));
        (printed && first.len().is_multiple_of(2)).then_some(Self::Utf16)
    }
}

fn utf8(first: &[u8]) -> Option<&str> {
    match str::from_utf8(first) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && first.len() >= SNIFFED_BYTES => {
            str::from_utf8(&first[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn is_printed(character: char) -> bool {
    !character.is_control() || matches!(character, '\t' | '\n' | '\r' | '\u{c}')
}

fn is_printed_byte(byte: u8) -> bool {
    !byte.is_ascii_control() || matches!(byte, b'\t' | b'\n' | b'\r' | b'\x0c')
}

/// Returns the media type of text, or `None` if the bytes are no text. It is the claimed type if that is
/// harmless. Any bytes can look like text in an eight-bit encoding, so they count as text only if a type `text/…`
/// is claimed.
pub(super) fn text_type(first: &[u8], claim: Option<&str>) -> Option<&'static str> {
    let encoding = TextEncoding::detect(first)?;
    let claim = claim.map(|claim| if CSV_NAMES.contains(&claim) { "text/csv" } else { claim });
    let claimed = CLAIMABLE_TYPES.iter().copied().find(|kind| claim == Some(kind));
    match encoding {
        TextEncoding::Utf8 => Some(claimed.unwrap_or("text/plain")),
        TextEncoding::Utf16 => Some(claimed.filter(|kind| kind.starts_with("text/")).unwrap_or("text/plain")),
        TextEncoding::EightBit => claimed.filter(|kind| kind.starts_with("text/")),
    }
}

/// Adds the parameter `charset` to a type `text/…`: `utf-8` or `utf-16` if that was detected, otherwise the
/// claimed charset. HTML and XML in ASCII stay without, because they may declare another charset themselves.
pub(super) fn with_charset(found: String, first: &[u8], claimed: Option<&str>) -> String {
    if !found.starts_with("text/") {
        return found;
    }
    match TextEncoding::detect(first) {
        Some(TextEncoding::Utf8) if first.is_ascii() && matches!(found.as_str(), "text/html" | "text/xml") => found,
        Some(TextEncoding::Utf8) => format!("{found}; charset=utf-8"),
        Some(TextEncoding::Utf16) => format!("{found}; charset=utf-16"),
        _ => match claimed.and_then(charset) {
            Some(charset) => format!("{found}; charset={charset}"),
            None => found,
        },
    }
}

/// Returns the charset of a media type in lower case, if it has one byte per character. In another charset, such
/// as UTF-7, a browser could read the bytes as something that was not examined.
fn charset(media_type: &str) -> Option<String> {
    let mut parameters = media_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, charset) = parameters.find(|(name, _)| essence(name) == "charset")?;
    let charset = charset.trim().trim_matches('"').to_ascii_lowercase();
    let eight_bit = ["windows-125", "iso-8859-", "koi8-"].iter().any(|family| charset.starts_with(family));
    (eight_bit && charset.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')).then_some(charset)
}
