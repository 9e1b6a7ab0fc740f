//! The content of a message: a text, or a list of parts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::fields::{FieldProblem, ObjectFields};
use crate::{
    chat::{CacheLifetime, Media, MediaSource, Part},
    media,
};

/// Largest number of parts of a message.
const MAX_PARTS_PER_MESSAGE: usize = 1_000;
/// Longest URL of an image, in bytes. Images themselves can be data URLs, which the limit of the body limits.
const MAX_URL_BYTES: usize = 8 * 1024;
/// Longest name of a file, its id, and other short texts, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// Reads the content at a path. `None` is no content.
pub(super) fn parse_content(path: &str, content: Option<Value>) -> Result<Vec<Part>, FieldProblem> {
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::text(text)]),
        Some(Value::Array(parts)) if parts.len() <= MAX_PARTS_PER_MESSAGE => {
            let parts = parts.into_iter().enumerate();
            parts.map(|(index, part)| parse_part(format!("{path}[{index}]"), part)).collect()
        }
        Some(Value::Array(_)) => {
            Err(FieldProblem::new(path, format!("must have at most {MAX_PARTS_PER_MESSAGE} parts")))
        }
        Some(_) => Err(FieldProblem::new(path, "must be a text or a list of parts")),
    }
}

fn parse_part(path: String, part: Value) -> Result<Part, FieldProblem> {
    let mut part = ObjectFields::of(path, part)?;
    let kind = part.required_text("type", MAX_NAME_BYTES)?;
    match kind.as_str() {
        "text" | "input_text" | "output_text" => {
            let text = part.text("text", usize::MAX)?.ok_or_else(|| part.problem("text", "is required"))?;
            Ok(Part::Text { text, cache: cache_hint(&mut part)? })
        }
        "image_url" => image(&mut part),
        "input_audio" => audio(&mut part),
        "file" => file(&mut part.required_object("file")?),
        "input_image" => input_image(&mut part),
        "input_file" => file(&mut part),
        "refusal" => {
            let text = part.text("refusal", usize::MAX)?.ok_or_else(|| part.problem("refusal", "is required"))?;
            Ok(Part::Refusal(text))
        }
        _ => {
            let kinds = "must be `text`, `image_url`, `input_audio`, `file` or `refusal`, or in Responses `input_text`, \
                         `output_text`, `input_image`, `input_file` or `refusal`";
            Err(part.problem("type", kinds))
        }
    }
}

/// Reads the hint that the provider caches the conversation up to a part, in the form of Anthropic's API.
fn cache_hint(part: &mut ObjectFields) -> Result<Option<CacheLifetime>, FieldProblem> {
    let Some(mut hint) = part.object("cache_control")? else { return Ok(None) };
    match hint.text("ttl", MAX_NAME_BYTES)?.as_deref() {
        None | Some("5m") => Ok(Some(CacheLifetime::Short)),
        Some("1h") => Ok(Some(CacheLifetime::Hour)),
        Some(_) => Err(hint.problem("ttl", "must be `5m` or `1h`")),
    }
}

fn image(part: &mut ObjectFields) -> Result<Part, FieldProblem> {
    // Some clients send the URL itself.
    let path = part.path("image_url");
    let mut image = match part.take("image_url") {
        Some(Value::String(url)) => return media_at(&path, &url).map(Part::Image),
        Some(value) => ObjectFields::of(path, value)?,
        None => return Err(part.problem("image_url", "is required")),
    };
    let url = image.required_text("url", usize::MAX)?;
    let mut media = media_at(&image.path("url"), &url)?;
    media.detail = image.text("detail", MAX_NAME_BYTES)?;
    Ok(Part::Image(media))
}

/// Reads an image in the form of Responses.
fn input_image(part: &mut ObjectFields) -> Result<Part, FieldProblem> {
    let mut media = match (part.text("image_url", usize::MAX)?, part.text("file_id", MAX_NAME_BYTES)?) {
        (Some(url), _) => media_at(&part.path("image_url"), &url)?,
        (None, Some(id)) => media_of(MediaSource::FileId(id)),
        (None, None) => return Err(part.problem("image_url", "is required, or `file_id`")),
    };
    media.detail = part.text("detail", MAX_NAME_BYTES)?;
    Ok(Part::Image(media))
}

/// Returns the media of a data URL or of a URL that is fetched.
fn media_at(path: &str, url: &str) -> Result<Media, FieldProblem> {
    if is_data_url(url) {
        return media::parse_data_url(url).map_err(|message| FieldProblem::new(path, message));
    }
    let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return Err(FieldProblem::new(path, "must be a URL that begins with https:// or data:"));
    }
    if url.len() > MAX_URL_BYTES {
        return Err(FieldProblem::new(path, format!("must have at most {MAX_URL_BYTES} bytes")));
    }
    Ok(Media::url(url))
}

fn is_data_url(text: &str) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

fn audio(part: &mut ObjectFields) -> Result<Part, FieldProblem> {
    let mut audio = part.required_object("input_audio")?;
    let data = audio.required_text("data", usize::MAX)?;
    let format = audio.required_text("format", MAX_NAME_BYTES)?;
    if !format.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(audio.problem("format", "must be a format such as `wav` or `mp3`"));
    }
    let bytes = decode(&audio, "data", &data)?;
    Ok(Part::File(Media::bytes(bytes, format!("audio/{}", format.to_ascii_lowercase()))))
}

/// Reads a file. Only Responses have files at URLs.
fn file(file: &mut ObjectFields) -> Result<Part, FieldProblem> {
    let mut media = if let Some(data) = file.text("file_data", usize::MAX)? {
        if is_data_url(&data) {
            media::parse_data_url(&data).map_err(|message| file.problem("file_data", message))?
        } else {
            media_of(MediaSource::Bytes(decode(file, "file_data", &data)?.into()))
        }
    } else if let Some(url) = file.text("file_url", MAX_URL_BYTES)? {
        media_at(&file.path("file_url"), &url)?
    } else if let Some(id) = file.text("file_id", MAX_NAME_BYTES)? {
        media_of(MediaSource::FileId(id))
    } else {
        return Err(file.problem("file_data", "is required, or `file_id`"));
    };
    media.name = file.text("filename", MAX_NAME_BYTES)?;
    Ok(Part::File(media))
}

fn media_of(source: MediaSource) -> Media {
    Media { source, media_type: None, name: None, detail: None }
}

fn decode(at: &ObjectFields, name: &str, data: &str) -> Result<Vec<u8>, FieldProblem> {
    STANDARD.decode(data.trim()).map_err(|_| at.problem(name, "must be base64"))
}
