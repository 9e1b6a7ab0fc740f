//! Creation of thumbnails.
//!
//! The client that uploads an image decides how much work and memory it takes to decode it: a file of a few
//! hundred bytes may claim to be 65,535 pixels wide and high. Therefore the dimensions are read first and checked
//! against a limit before anything is decoded; the memory of the decoder is limited; only a limited number of
//! images is decoded at the same time, on threads for blocking work; and a panic of the decoder is reported as a
//! broken image.

use std::{io::Cursor, sync::Arc, time::Duration};

use bytes::Bytes;
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder};
use omnistack_core::http::{self, StatusCode};
use tokio::sync::Semaphore;

use crate::{Error, config::ThumbnailSettings};

/// Time that a request waits while the maximum number of images is being decoded.
const MAX_PERMIT_WAIT: Duration = Duration::from_secs(15);
/// The JPEG quality, from 1 to 100.
const JPEG_QUALITY: u8 = 82;
/// The bytes that a decoder may allocate in addition to the pixels of the image.
const DECODER_OVERHEAD_BYTES: u64 = 32 * 1024 * 1024;

/// A size in which thumbnails are created.
///
/// A thumbnail keeps the aspect ratio of the image, fits into the size and is never larger than the image.
///
/// ```
/// use omnistack_storage::{Files, Thumbnail};
///
/// let files = Files::from_env()
///     .thumbnail(Thumbnail::new("small", 160, 160))
///     .thumbnail(Thumbnail::new("wide", 1024, 512));
/// # let _ = files;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Thumbnail {
    /// The largest width and height in pixels.
    pub(crate) const MAX_SIDE_PIXELS: u32 = 4096;

    /// Creates a size with a name of 1 to 50 characters of `a-z`, `0-9` and `-`, and the largest width and height
    /// in pixels, each 1 to 4,096. The app does not build with another name or size.
    pub fn new(name: impl Into<String>, width: u32, height: u32) -> Self {
        Self { name: name.into(), width, height }
    }

    /// Returns what is wrong with the name or size, or `None` if they are valid.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = |pixels| (1..=Self::MAX_SIDE_PIXELS).contains(&pixels);
        if self.name.is_empty() || self.name.len() > 50 || !self.name.bytes().all(named) {
            return Some("its name must have 1 to 50 characters of `a-z`, `0-9` and `-`");
        }
        (!fits(self.width) || !fits(self.height)).then_some("its width and height must be 1 to 4,096 pixels")
    }

    /// Returns the last part of the thumbnail's key, which differs for each name and size.
    pub(crate) fn key_suffix(&self) -> String {
        format!("{}-{}x{}", self.name, self.width, self.height)
    }
}

/// An encoder of thumbnails, within the limits of [`ThumbnailSettings`].
#[derive(Clone, Debug)]
pub(crate) struct ThumbnailEncoder {
    pub(crate) sizes: Arc<[Thumbnail]>,
    settings: ThumbnailSettings,
    at_once: Arc<Semaphore>,
}

/// A thumbnail that was created.
#[derive(Debug)]
pub(crate) struct EncodedThumbnail {
    pub(crate) bytes: Bytes,
    pub(crate) content_type: &'static str,
}

fn refused(code: &'static str, message: impl Into<std::borrow::Cow<'static, str>>) -> http::Error {
    http::Error::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
}

fn broken() -> http::Error {
    refused("IMAGE_INVALID", "the image is broken: upload it again or use another one")
}

/// A permit to decode one image.
pub(crate) type DecodePermit = tokio::sync::OwnedSemaphorePermit;

impl ThumbnailEncoder {
    pub(crate) fn new(sizes: &[Thumbnail], settings: ThumbnailSettings) -> Self {
        let at_once = Arc::new(Semaphore::new(settings.at_once.max(1) as usize));
        Self { sizes: sizes.into(), settings, at_once }
    }

    /// Returns the largest size in bytes of a file of which a thumbnail is created.
    pub(crate) fn max_size(&self) -> u64 {
        self.settings.max_size.as_u64()
    }

    /// Returns the image format of a media type. Fails with 422 if no thumbnails are created of it.
    pub(crate) fn format(media_type: &str) -> Result<ImageFormat, http::Error> {
        match media_type {
            "image/png" => Ok(ImageFormat::Png),
            "image/jpeg" => Ok(ImageFormat::Jpeg),
            "image/gif" => Ok(ImageFormat::Gif),
            "image/webp" => Ok(ImageFormat::WebP),
            _ => {
                Err(refused("NO_THUMBNAIL", "the file has no thumbnail: only PNG, JPEG, GIF and WebP images have one"))
            }
        }
    }

    /// Waits for a permit to decode an image, before the image is read into memory. Fails with 503 after 15
    /// seconds.
    pub(crate) async fn acquire_permit(&self) -> Result<DecodePermit, Error> {
        let busy =
            || http::Error::unavailable("THUMBNAILS_BUSY", "too many thumbnails are being created: try again later");
        let turn = tokio::time::timeout(MAX_PERMIT_WAIT, Arc::clone(&self.at_once).acquire_owned()).await;
        Ok(turn.map_err(|_| busy())?.map_err(|_| busy())?)
    }

    /// Creates a thumbnail. If the caller stops waiting, the work continues and keeps its permit until it is
    /// done.
    pub(crate) async fn create(
        &self,
        turn: DecodePermit,
        format: ImageFormat,
        bytes: Bytes,
        size: Thumbnail,
    ) -> Result<EncodedThumbnail, Error> {
        let pixels = self.settings.pixels;
        let work = tokio::task::spawn_blocking(move || {
            let made = draw(format, &bytes, &size, pixels);
            drop(turn);
            made
        });
        match work.await {
            Ok(made) => Ok(made?),
            Err(panicked) => {
                tracing::warn!(target: "omnistack::storage", error = %panicked, "the decoder of an image panicked; the image is treated as broken");
                Err(broken().into())
            }
        }
    }
}

fn draw(format: ImageFormat, bytes: &[u8], size: &Thumbnail, pixels: u64) -> Result<EncodedThumbnail, http::Error> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(pixels.saturating_mul(4).saturating_add(DECODER_OVERHEAD_BYTES));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(wrong)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > pixels {
        let message = format!("the image has {width} by {height} pixels: the limit is {pixels} pixels");
        return Err(refused("IMAGE_TOO_LARGE", message));
    }
    // The rotation that the camera recorded.
    let orientation = decoder.orientation().map_err(wrong)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(wrong)?;
    image.apply_orientation(orientation);
    if image.width() > size.width || image.height() > size.height {
        image = image.thumbnail(size.width, size.height);
    }
    write(&image).map_err(http::Error::internal)
}

fn wrong(error: ImageError) -> http::Error {
    match error {
        ImageError::Limits(_) => {
            refused("IMAGE_TOO_LARGE", "the image needs too much memory: use a smaller one").with_source(error)
        }
        error => broken().with_source(error),
    }
}

/// Encodes the image without metadata such as location, camera and color profile.
fn write(image: &DynamicImage) -> Result<EncodedThumbnail, ImageError> {
    let mut bytes = Vec::new();
    if image.color().has_alpha() {
        image.to_rgba8().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)?;
        return Ok(EncodedThumbnail { bytes: bytes.into(), content_type: "image/png" });
    }
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(&image.to_rgb8())?;
    Ok(EncodedThumbnail { bytes: bytes.into(), content_type: "image/jpeg" })
}
