//! Images and files in requests, in the form that providers accept: with the type that their bytes have, and not too
//! large.

mod data_url;
#[cfg(feature = "providers")]
mod fetch;

use omnistack_core::http::{Error, FieldError};

use crate::chat::{ChatRequest, Media, MediaSource, Part};

pub(crate) use data_url::parse_data_url;

#[cfg(feature = "providers")]
pub(crate) use fetch::resolve;

/// Gives each image and file in a request the type that its bytes have. Without providers over HTTP, no URL is fetched.
///
/// Fails with 422 `VALIDATION_FAILED` as [`normalize`] does.
#[cfg(not(feature = "providers"))]
#[expect(clippy::unused_async, reason = "with providers, it fetches")]
pub(crate) async fn resolve(
    request: &mut ChatRequest,
    _: bool,
    _: Option<&std::convert::Infallible>,
    max_bytes: u64,
) -> Result<(), Error> {
    normalize(request, max_bytes)
}

/// Number of bytes in which the element of an SVG is searched.
const SEARCHED_SVG_BYTES: usize = 4 * 1024;

/// The types of images that all providers accept.
const IMAGE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

const SVG: &str = "image/svg+xml";
const BINARY: &str = "application/octet-stream";
const TEXT: &str = "text/plain";

/// Returns the media type of bytes, if their beginning identifies it.
pub(crate) fn detect(bytes: &[u8]) -> Option<&'static str> {
    let found = infer::get(bytes).map(|kind| kind.mime_type());
    let may_be_svg = match found {
        None | Some("text/xml") => true,
        // What begins with a comment is HTML to the detection.
        Some("text/html") => bytes.trim_ascii_start().starts_with(b"<!--"),
        Some(_) => false,
    };
    if may_be_svg && is_svg(bytes) { Some(SVG) } else { found }
}

fn is_svg(bytes: &[u8]) -> bool {
    let beginning = &bytes[..bytes.len().min(SEARCHED_SVG_BYTES)];
    let first = beginning.iter().find(|byte| !byte.is_ascii_whitespace() && !b"\xEF\xBB\xBF".contains(byte));
    first == Some(&b'<') && beginning.windows(4).any(|four| four.eq_ignore_ascii_case(b"<svg"))
}

/// Gives each image and file in a request the type that its bytes have. Data URLs become bytes; other URLs remain.
///
/// Fails with 422 `VALIDATION_FAILED` if a data URL is malformed, if an image is none that providers accept, or if the
/// media are larger than `max_bytes` together.
pub(crate) fn normalize(request: &mut ChatRequest, max_bytes: u64) -> Result<(), Error> {
    let mut total: u64 = 0;
    for_each(request, &mut |part, path| {
        let is_image = matches!(part, Part::Image(_));
        let (Part::Image(media) | Part::File(media)) = part else { return Ok(()) };
        decode_data_url(media).map_err(|problem| invalid(path, problem))?;
        let MediaSource::Bytes(bytes) = &media.source else { return Ok(()) };
        total = total.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if total > max_bytes {
            return Err(invalid(path, too_large(max_bytes)));
        }
        let media_type = if is_image { image_type(bytes) } else { file_type(bytes, media.media_type.as_deref()) };
        media.media_type = Some(media_type.map_err(|problem| invalid(path, problem))?);
        Ok(())
    })
}

fn decode_data_url(media: &mut Media) -> Result<(), String> {
    let MediaSource::Url(url) = &media.source else { return Ok(()) };
    if !url.trim_start().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return Ok(());
    }
    let parsed = parse_data_url(url)?;
    media.source = parsed.source;
    media.media_type = media.media_type.take().or(parsed.media_type);
    Ok(())
}

/// Returns the type of an image, whatever it is claimed to be.
fn image_type(bytes: &[u8]) -> Result<String, String> {
    match detect(bytes) {
        Some(found) if IMAGE_TYPES.contains(&found) => Ok(found.to_owned()),
        Some(found) => Err(format!("is of the type {found}; send an image as PNG, JPEG, GIF or WebP")),
        None if bytes.is_empty() => Err("is empty; send an image as PNG, JPEG, GIF or WebP".to_owned()),
        None => Err("is not an image; send one as PNG, JPEG, GIF or WebP".to_owned()),
    }
}

/// Returns the type of a file: the detected one, or the claimed one if the bytes don't identify it.
fn file_type(bytes: &[u8], claimed: Option<&str>) -> Result<String, String> {
    if bytes.is_empty() {
        return Err("is empty; send a file with content".to_owned());
    }
    let claimed = claimed.map(essence).filter(|claimed| is_media_type(claimed));
    Ok(match (detect(bytes), claimed) {
        // Office documents are archives to the detection.
        (Some("application/zip"), Some(claimed)) if claimed.starts_with("application/") => claimed,
        // A text can begin like a file of another type, such as with `BM`.
        (Some(_), Some(claimed)) if claimed.starts_with("text/") && std::str::from_utf8(bytes).is_ok() => claimed,
        (Some(found), _) => found.to_owned(),
        (None, Some(claimed)) if claimed == "application/pdf" || claimed.starts_with("image/") => {
            return Err(format!("is not of the type {claimed}; send the type that the file has"));
        }
        (None, Some(claimed)) if claimed != BINARY => claimed,
        (None, _) if std::str::from_utf8(bytes).is_ok() => TEXT.to_owned(),
        (None, _) => BINARY.to_owned(),
    })
}

/// Returns a media type in lower case and without parameters.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    text.len() <= 100 && text.split_once('/').is_some_and(|(kind, name)| is_token(kind) && is_token(name))
}

/// Calls a function with each part of a request, those in results of tools included, and the path of the field.
fn for_each(
    request: &mut ChatRequest,
    visit: &mut dyn FnMut(&mut Part, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    for (number, message) in request.messages.iter_mut().enumerate() {
        for (position, part) in message.parts.iter_mut().enumerate() {
            let path = format!("messages[{number}].content[{position}]");
            match part {
                Part::ToolResult(result) => result.parts.iter_mut().try_for_each(|part| visit(part, &path))?,
                part => visit(part, &path)?,
            }
        }
    }
    Ok(())
}

fn invalid(path: &str, problem: String) -> Error {
    Error::invalid([FieldError::new(path, problem)])
}

fn too_large(max_bytes: u64) -> String {
    format!("makes the images and files of the request larger than {max_bytes} bytes; send smaller or fewer ones")
}

#[cfg(test)]
mod tests;
