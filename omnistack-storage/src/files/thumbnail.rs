//! Thumbnails of files: created at the first request and stored beside the file.

use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    http::{self, FieldError},
    identity::Identity,
};

use super::FileService;
use crate::{
    Error, ErrorKind, File, FileId, KeyError, Object, ObjectKey, ObjectMetadata, PutOptions,
    thumbnail::{Thumbnail, ThumbnailEncoder},
};

/// The key prefix of thumbnails.
const THUMBNAIL_PREFIX: &str = "thumbnails/";
/// The number of objects that are listed at a time.
const OBJECTS_PER_PAGE: usize = 100;

fn folder(file: &File) -> String {
    format!("{THUMBNAIL_PREFIX}{}/{}/", file.tenant_id, file.id)
}

fn key(file: &File, size: &Thumbnail) -> Result<ObjectKey, KeyError> {
    ObjectKey::new(format!("{}{}", folder(file), size.key_suffix()))
}

impl FileService {
    /// Returns the thumbnail of a file in a declared size, by default the first one, and its entity tag. Creates
    /// the thumbnail if it does not exist.
    ///
    /// # Errors
    /// 404 as [`get_readable`](Self::get_readable); 422 if the size is not declared, or if the file is not an image, is
    /// broken or has too many bytes or pixels; 409 if the file is archived and the thumbnail does not exist yet;
    /// 503 if too many thumbnails are being created.
    pub(crate) async fn thumbnail(
        &self,
        caller: &Identity,
        id: FileId,
        name: Option<&str>,
    ) -> Result<(Object, String), Error> {
        let missing = || http::Error::not_found("the thumbnail");
        let thumbnails = self.0.thumbnails.as_ref().ok_or_else(missing)?;
        let unknown = || http::Error::invalid([FieldError::new("size", "must be a declared size")]);
        let mut sizes = thumbnails.sizes.iter();
        let size = sizes.find(|size| name.is_none_or(|name| name == size.name)).ok_or_else(unknown)?;
        let file = self.get_readable(caller, id).await?;
        let etag = format!("\"{}-{}\"", file.id, size.key_suffix());
        let key = key(&file, size)?;
        match self.0.storage.get(&key).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            kept => return Ok((kept?, etag)),
        }
        Ok((self.draw(thumbnails, &file, size, key).await?, etag))
    }

    async fn draw(
        &self,
        thumbnails: &ThumbnailEncoder,
        file: &File,
        size: &Thumbnail,
        key: ObjectKey,
    ) -> Result<Object, Error> {
        let format = ThumbnailEncoder::format(&file.content_type)?;
        if file.size > thumbnails.max_size() {
            let message =
                format!("the file is too large for a thumbnail: the limit is {} bytes", thumbnails.max_size());
            return Err(http::Error::new(http::StatusCode::UNPROCESSABLE_ENTITY, "IMAGE_TOO_LARGE", message).into());
        }
        let turn = thumbnails.acquire_permit().await?;
        let picture = self.open_object(file, None).await?.read_all(thumbnails.max_size()).await?;
        let made = thumbnails.create(turn, format, picture, size.clone()).await?;
        let options = PutOptions::content_type(made.content_type);
        if let Err(error) = self.0.storage.put_with(&key, made.bytes.clone(), &options).await {
            tracing::warn!(target: "omnistack::storage", file = %file.id, %error, "a thumbnail was not stored; the next request creates it again");
        }
        let length = made.bytes.len() as u64;
        let mut info = ObjectMetadata::new(key, length, self.0.clock.now());
        info.content_type = Some(made.content_type.into());
        Ok(Object { info, range: 0..length, body: stream::iter([Ok(made.bytes)]).boxed() })
    }

    /// Deletes all thumbnails of a file, including those in sizes that are no longer declared.
    pub(super) async fn remove_thumbnails(&self, file: &File) -> Result<(), Error> {
        if ThumbnailEncoder::format(&file.content_type).is_err() {
            return Ok(());
        }
        loop {
            let listing = self.0.storage.list(&folder(file), None, OBJECTS_PER_PAGE).await?;
            for object in &listing.objects {
                self.0.storage.delete(&object.key).await?;
            }
            if !listing.has_more {
                return Ok(());
            }
        }
    }
}
