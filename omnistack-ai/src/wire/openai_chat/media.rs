//! Images, sounds and files as APIs in OpenAI's form want them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::error::inexpressible;
use crate::{
    chat::{Media, MediaSource},
    error::LlmError,
    wire::Quirks,
};

/// Name of a file that has none. The API requires a name.
const DEFAULT_FILE_NAME: &str = "file";

/// Returns bytes as a data URL (RFC 2397).
pub(crate) fn data_url(media: &Media, bytes: &[u8]) -> String {
    let media_type = media.media_type.as_deref().unwrap_or("application/octet-stream");
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

/// Returns the name of a file.
pub(crate) fn file_name(media: &Media) -> &str {
    media.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_FILE_NAME)
}

/// Encodes an image of chat completions.
pub(super) fn image(provider: &str, media: &Media) -> Result<Value, LlmError> {
    let url = match &media.source {
        MediaSource::Bytes(bytes) => data_url(media, bytes),
        MediaSource::Url(url) => url.clone(),
        MediaSource::FileId(_) => {
            return Err(inexpressible(provider, "chat completions take no ids of images: send the image or its URL"));
        }
    };
    let mut image = json!({"url": url});
    if let Some(detail) = &media.detail {
        image["detail"] = json!(detail);
    }
    Ok(json!({"type": "image_url", "image_url": image}))
}

/// Encodes a file or a sound of chat completions.
pub(super) fn file(provider: &str, quirks: &Quirks, media: &Media) -> Result<Value, LlmError> {
    if !quirks.accepts_files {
        return Err(inexpressible(provider, "the provider takes no files: send their text"));
    }
    let media_type = media.media_type.as_deref().unwrap_or_default();
    match &media.source {
        MediaSource::Bytes(bytes) if media_type.starts_with("audio/") => {
            let format = match media_type {
                "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
                "audio/mpeg" | "audio/mp3" => "mp3",
                _ => return Err(inexpressible(provider, "the provider takes sounds only as WAV or MP3")),
            };
            Ok(json!({"type": "input_audio", "input_audio": {"data": STANDARD.encode(bytes), "format": format}}))
        }
        MediaSource::Bytes(bytes) => {
            Ok(json!({"type": "file", "file": {"filename": file_name(media), "file_data": data_url(media, bytes)}}))
        }
        MediaSource::FileId(id) => Ok(json!({"type": "file", "file": {"file_id": id}})),
        MediaSource::Url(_) => {
            Err(inexpressible(provider, "chat completions take no URLs of files: send the file itself"))
        }
    }
}
