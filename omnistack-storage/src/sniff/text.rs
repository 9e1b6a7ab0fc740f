//! Plain text: its encoding and its kind.

use super::{FIRST, essence};

/// Kinds of text a claim may name, since the bytes tell none of them apart. None of these runs in a browser.
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

/// Other names of `text/csv`: `application/vnd.ms-excel` is the one of browsers on Windows where Excel is installed.
const CSV_NAMES: &[&str] =
    &["application/csv", "application/vnd.ms-excel", "application/x-csv", "text/comma-separated-values", "text/x-csv"];

/// The encoding of plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// UTF-8, and so ASCII.
    Utf8,
    /// UTF-16 with a byte order mark.
    Utf16,
    /// One byte a character, as Windows-1252 and Windows-1251; the bytes do not tell which.
    EightBit,
}

impl Text {
    /// Returns the encoding of bytes without control characters; none of other bytes. What is cut off at the end may be a part of a
    /// character.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        if let Some(text) = utf8(first) {
            return text.chars().all(is_printed).then_some(Self::Utf8);
        }
        let unit = match first {
            [0xff, 0xfe, ..] => u16::from_le_bytes,
            [0xfe, 0xff, ..] => u16::from_be_bytes,
            _ => return first.iter().all(|byte| is_printed_byte(*byte)).then_some(Self::EightBit),
        };
        let units = first.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        // A half of a surrogate pair is the end of what was cut off.
        let printed = char::decode_utf16(units).all(|character| character.map_or(true, is_printed));
        (printed && first.len().is_multiple_of(2)).then_some(Self::Utf16)
    }
}

fn utf8(first: &[u8]) -> Option<&str> {
    match str::from_utf8(first) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && first.len() >= FIRST => {
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

/// Returns the kind of text these bytes are: the claimed kind if it is harmless. Text that is not UTF-8 may be anything, so it is text
/// only when it is claimed to be.
pub(super) fn kind(first: &[u8], claim: Option<&str>) -> Option<&'static str> {
    let encoding = Text::of(first)?;
    let claim = claim.map(|claim| if CSV_NAMES.contains(&claim) { "text/csv" } else { claim });
    let claimed = CLAIMABLE_TYPES.iter().copied().find(|kind| claim == Some(kind));
    match encoding {
        Text::Utf8 => Some(claimed.unwrap_or("text/plain")),
        Text::Utf16 => Some(claimed.filter(|kind| kind.starts_with("text/")).unwrap_or("text/plain")),
        Text::EightBit => claimed.filter(|kind| kind.starts_with("text/")),
    }
}

/// Adds the charset to a type `text/…`: `utf-8` for text that was found to be, otherwise the charset of the claim. Pages and XML of ASCII
/// alone are left as they are, since they may declare another charset themselves.
pub(super) fn with_charset(found: String, first: &[u8], claimed: Option<&str>) -> String {
    if !found.starts_with("text/") {
        return found;
    }
    match Text::of(first) {
        Some(Text::Utf8) if first.is_ascii() && matches!(found.as_str(), "text/html" | "text/xml") => found,
        Some(Text::Utf8) => format!("{found}; charset=utf-8"),
        Some(Text::Utf16) => format!("{found}; charset=utf-16"),
        _ => match claimed.and_then(charset) {
            Some(charset) => format!("{found}; charset={charset}"),
            None => found,
        },
    }
}

/// Returns the charset a media type names, in lower case, if it has one byte a character. In another, UTF-7 for one, a browser could read
/// what was not looked at.
fn charset(media_type: &str) -> Option<String> {
    let mut parameters = media_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, charset) = parameters.find(|(name, _)| essence(name) == "charset")?;
    let charset = charset.trim().trim_matches('"').to_ascii_lowercase();
    let eight_bit = ["windows-125", "iso-8859-", "koi8-"].iter().any(|family| charset.starts_with(family));
    (eight_bit && charset.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')).then_some(charset)
}
