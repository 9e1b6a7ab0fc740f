//! Thumbnails of files: made when they are first asked for, and kept with the others.

use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    http::{self, FieldProblem},
    identity::Identity,
};

use super::FileService;
use crate::{
    Error, ErrorKind, File, FileId, KeyError, Object, ObjectInfo, ObjectKey, PutOptions,
    thumbnail::{Thumbnail, Thumbnails},
};

/// What thumbnails' keys begin with.
const THUMBNAILS: &str = "thumbnails/";
/// Objects at once.
const CHUNK: usize = 100;

fn folder(file: &File) -> String {
    format!("{THUMBNAILS}{}/{}/", file.tenant_id, file.id)
}

fn key(file: &File, size: &Thumbnail) -> Result<ObjectKey, KeyError> {
    ObjectKey::new(format!("{}{}", folder(file), size.mark()))
}

impl FileService {
    /// A file's thumbnail of the size of this name, the first that is declared unless said; and its mark for caches.
    ///
    /// # Errors
    /// 404 as of [`readable`](Self::readable); 422 for a size that is not declared, for what no thumbnail is made of, for too many
    /// pixels and for a broken picture; 409 for a picture in an archive of which there is none yet; 503 while too many are made.
    pub(crate) async fn thumbnail(
        &self,
        caller: &Identity,
        id: FileId,
        name: Option<&str>,
    ) -> Result<(Object, String), Error> {
        let missing = || http::Error::not_found("the thumbnail");
        let thumbnails = self.0.thumbnails.as_ref().ok_or_else(missing)?;
        let unknown = || http::Error::invalid([FieldProblem::new("size", "is none of the sizes there are")]);
        let mut sizes = thumbnails.sizes.iter();
        let size = sizes.find(|size| name.is_none_or(|name| name == size.name)).ok_or_else(unknown)?;
        let file = self.readable(caller, id).await?;
        let etag = format!("\"{}-{}\"", file.id, size.mark());
        let key = key(&file, size)?;
        match self.0.storage.get(&key).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            kept => return Ok((kept?, etag)),
        }
        Ok((self.draw(thumbnails, &file, size, key).await?, etag))
    }

    async fn draw(
        &self,
        thumbnails: &Thumbnails,
        file: &File,
        size: &Thumbnail,
        key: ObjectKey,
    ) -> Result<Object, Error> {
        let format = Thumbnails::format(&file.content_type)?;
        if file.size > thumbnails.largest() {
            let message = format!("thumbnails are made of pictures of at most {} bytes", thumbnails.largest());
            return Err(http::Error::new(http::StatusCode::UNPROCESSABLE_ENTITY, "IMAGE_TOO_LARGE", message).into());
        }
        let turn = thumbnails.turn().await?;
        let picture = self.bytes_of(file, None).await?.bytes(thumbnails.largest()).await?;
        let made = thumbnails.make(turn, format, picture, size.clone()).await?;
        let options = PutOptions::content_type(made.content_type);
        if let Err(error) = self.0.storage.put_with(&key, made.bytes.clone(), &options).await {
            tracing::warn!(target: "omnistack::storage", file = %file.id, %error, "a thumbnail is made again the next time");
        }
        let length = made.bytes.len() as u64;
        let mut info = ObjectInfo::new(key, length, self.0.clock.now());
        info.content_type = Some(made.content_type.into());
        Ok(Object { info, range: 0..length, body: stream::iter([Ok(made.bytes)]).boxed() })
    }

    /// Removes a file's thumbnails, of sizes that are not declared any more as well.
    pub(super) async fn remove_thumbnails(&self, file: &File) -> Result<(), Error> {
        if Thumbnails::format(&file.content_type).is_err() {
            return Ok(());
        }
        loop {
            let listing = self.0.storage.list(&folder(file), None, CHUNK).await?;
            for object in &listing.objects {
                self.0.storage.delete(&object.key).await?;
            }
            if !listing.more {
                return Ok(());
            }
        }
    }
}
