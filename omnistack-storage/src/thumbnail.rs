//! Small pictures of pictures.
//!
//! Whoever uploads a picture chooses how much work and memory it takes to read it: a file of some hundred bytes may say that it is
//! 65,535 pixels wide and high. So the size is read first and held to a limit before anything is decoded; what a decoder allocates
//! is limited as well; only so many are decoded at once, on threads where blocking is allowed; and a decoder that panics has
//! found a broken picture.

use std::{io::Cursor, sync::Arc, time::Duration};

use bytes::Bytes;
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder};
use omnistack_core::http::{self, StatusCode};
use tokio::sync::Semaphore;

use crate::{Error, config::ThumbnailSettings};

/// How long to wait for others to be done.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of JPEG, of 100.
const QUALITY: u8 = 82;
/// Beside the pixels of the picture itself: what a decoder needs for its own.
const SLACK: u64 = 32 * 1024 * 1024;

/// A size thumbnails are made in.
///
/// A thumbnail is as large as fits, with the shape of the picture, and never larger than that.
///
/// ```
/// use omnistack_storage::{Files, Thumbnail};
///
/// let files = Files::from_env().thumbnail(Thumbnail::new("small", 160, 160)).thumbnail(Thumbnail::new("wide", 1024, 512));
/// # let _ = files;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Thumbnail {
    /// Pixels of the longest side at most.
    pub(crate) const LONGEST: u32 = 4096;

    /// Called this (`a-z`, `0-9`, `-`), at most so many pixels wide and high: 1 to 4,096.
    pub fn new(name: impl Into<String>, width: u32, height: u32) -> Self {
        Self { name: name.into(), width, height }
    }

    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = |pixels| (1..=Self::LONGEST).contains(&pixels);
        if self.name.is_empty() || self.name.len() > 50 || !self.name.bytes().all(named) {
            return Some("its name is not 1 to 50 of `a-z`, `0-9`, `-`");
        }
        (!fits(self.width) || !fits(self.height)).then_some("it is not 1 to 4,096 pixels wide and high")
    }

    /// What tells it from one of other pixels.
    pub(crate) fn mark(&self) -> String {
        format!("{}-{}x{}", self.name, self.width, self.height)
    }
}

/// Makes them.
#[derive(Clone, Debug)]
pub(crate) struct Thumbnails {
    pub(crate) sizes: Arc<[Thumbnail]>,
    settings: ThumbnailSettings,
    at_once: Arc<Semaphore>,
}

/// One that is made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Bytes,
    pub(crate) content_type: &'static str,
}

fn refused(code: &'static str, message: impl Into<std::borrow::Cow<'static, str>>) -> http::Error {
    http::Error::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
}

fn broken() -> http::Error {
    refused("IMAGE_BROKEN", "the picture can't be read")
}

/// Leave to decode one picture.
pub(crate) type Turn = tokio::sync::OwnedSemaphorePermit;

impl Thumbnails {
    pub(crate) fn new(sizes: &[Thumbnail], settings: ThumbnailSettings) -> Self {
        let at_once = Arc::new(Semaphore::new(settings.at_once.max(1) as usize));
        Self { sizes: sizes.into(), settings, at_once }
    }

    /// Bytes a picture has at most.
    pub(crate) fn largest(&self) -> u64 {
        self.settings.max_size.as_u64()
    }

    /// What a picture is decoded as, if thumbnails are made of its like.
    pub(crate) fn format(media_type: &str) -> Result<ImageFormat, http::Error> {
        match media_type {
            "image/png" => Ok(ImageFormat::Png),
            "image/jpeg" => Ok(ImageFormat::Jpeg),
            "image/gif" => Ok(ImageFormat::Gif),
            "image/webp" => Ok(ImageFormat::WebP),
            _ => Err(refused("NO_THUMBNAIL", "thumbnails are made of PNG, JPEG, GIF and WebP alone")),
        }
    }

    /// Waits until fewer than the limit are being made: before the picture is read into memory.
    pub(crate) async fn turn(&self) -> Result<Turn, Error> {
        let busy = || http::Error::unavailable("THUMBNAILS_BUSY", "many pictures are being read; try again");
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.at_once).acquire_owned()).await;
        Ok(turn.map_err(|_| busy())?.map_err(|_| busy())?)
    }

    /// Makes one. Whoever stops waiting leaves it to its end, with its turn.
    pub(crate) async fn make(
        &self,
        turn: Turn,
        format: ImageFormat,
        bytes: Bytes,
        size: Thumbnail,
    ) -> Result<Made, Error> {
        let pixels = self.settings.pixels;
        let work = tokio::task::spawn_blocking(move || {
            let made = draw(format, &bytes, &size, pixels);
            drop(turn);
            made
        });
        match work.await {
            Ok(made) => Ok(made?),
            Err(panicked) => {
                tracing::warn!(target: "omnistack::storage", error = %panicked, "a picture is broken in a way its decoder does not bear");
                Err(broken().into())
            }
        }
    }
}

fn draw(format: ImageFormat, bytes: &[u8], size: &Thumbnail, pixels: u64) -> Result<Made, http::Error> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(pixels.saturating_mul(4).saturating_add(SLACK));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(wrong)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > pixels {
        let message = format!("the picture has {width} by {height} pixels, more than {pixels}");
        return Err(refused("IMAGE_TOO_LARGE", message));
    }
    // As a camera was held.
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
            refused("IMAGE_TOO_LARGE", "the picture takes more memory than is allowed").cause(error)
        }
        error => broken().cause(error),
    }
}

/// Without anything that was said of the picture: places, cameras, profiles.
fn write(image: &DynamicImage) -> Result<Made, ImageError> {
    let mut bytes = Vec::new();
    if image.color().has_alpha() {
        image.to_rgba8().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)?;
        return Ok(Made { bytes: bytes.into(), content_type: "image/png" });
    }
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&image.to_rgb8())?;
    Ok(Made { bytes: bytes.into(), content_type: "image/jpeg" })
}
