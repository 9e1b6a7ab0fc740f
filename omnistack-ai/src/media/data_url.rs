//! Data URLs (RFC 2397).

use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose,
        general_purpose::{GeneralPurposeConfig, STANDARD_PAD_INDIFFERENT},
    },
};
use percent_encoding::percent_decode_str;

use super::{TEXT, essence, is_media_type};
use crate::chat::Media;

/// Clients encode in both alphabets, and some leave the padding out or cut the last bits wrongly.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const LENIENT_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const LENIENT_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Parses a data URL. White space in the Base64 is ignored, and `image/jpg` becomes `image/jpeg`.
///
/// Fails with a description that is read after the name of a field.
pub(crate) fn parse_data_url(url: &str) -> Result<Media, String> {
    const MALFORMED: &str = "is no data URL; send one such as `data:image/png;base64,…`";
    let url = url.trim();
    let (scheme, rest) = url.split_once(':').ok_or(MALFORMED)?;
    let (head, data) = rest.split_once(',').ok_or(MALFORMED)?;
    if !scheme.eq_ignore_ascii_case("data") {
        return Err(MALFORMED.to_owned());
    }
    let is_base64 = head.rsplit(';').next().is_some_and(|last| last.trim().eq_ignore_ascii_case("base64"));
    let bytes = if is_base64 { decode_base64(data)? } else { percent_decode_str(data).collect() };
    let claimed = essence(head);
    let media_type = match claimed.as_str() {
        "image/jpg" | "image/pjpeg" => "image/jpeg".to_owned(),
        _ if is_media_type(&claimed) => claimed,
        _ => TEXT.to_owned(),
    };
    Ok(Media::bytes(bytes, media_type))
}

fn decode_base64(data: &str) -> Result<Vec<u8>, String> {
    // Most data is exact, and large.
    if let Ok(bytes) = STANDARD_PAD_INDIFFERENT.decode(data) {
        return Ok(bytes);
    }
    let decoded = percent_decode_str(data);
    let clean: Vec<u8> = decoded.filter(|byte| !byte.is_ascii_whitespace()).collect();
    let is_url_safe = clean.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if is_url_safe { LENIENT_URL_SAFE } else { LENIENT_STANDARD };
    engine.decode(&clean).map_err(|_| "is not Base64; encode the bytes of the file with it".to_owned())
}
