//! Files whose bytes go to the storage without passing through the app.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use omnistack_core::{
    crypto::Sha256,
    http::{self, FieldProblem},
    identity::Identity,
};
use sha2::Digest as _;

use super::{FileService, missing};
use crate::{
    ByteRange, Error, ErrorKind, File, FileId, FileState, NewFile, ObjectKey, SignRequest, SignedRequest, sniff::FIRST,
    store,
};

/// For how long a link to store at is good.
const LINK_TTL: Duration = Duration::from_secs(60 * 60);
/// For how long a file that was announced can be confirmed.
pub(super) const ANNOUNCED_TTL: Duration = Duration::from_secs(2 * 60 * 60);

impl FileService {
    /// Announces a file whose bytes go to the bucket by themselves, and says how to send them. Nobody can read it before it is
    /// [confirmed](Self::confirm), for which there are two hours; the link is good for the first.
    ///
    /// # Errors
    /// 422 without a size; [`ErrorKind::Unsupported`] where the provider makes no links; otherwise as of [`upload`](Self::upload).
    pub async fn announce(&self, caller: &Identity, new: NewFile) -> Result<(File, SignedRequest), Error> {
        let can = self.0.storage.capabilities();
        if !can.signed_put {
            return Err(Error::unsupported("signed links"));
        }
        let required = || http::Error::invalid([FieldProblem::new("size", "is required")]);
        let size = new.size.ok_or_else(required)?;
        let (file, _) = self.begin(caller, &new, FileState::Awaited, size, ANNOUNCED_TTL).await?;
        let mut request = SignRequest::put(file.incoming()?, LINK_TTL).content_type(&file.content_type);
        if can.signed_size {
            request = request.size(size);
        }
        match self.0.storage.sign(&request).await {
            Ok(signed) => Ok((file, signed)),
            Err(error) => {
                self.discard(&file).await;
                Err(error)
            }
        }
    }

    /// Takes a file whose bytes have arrived. What arrives at the same link later is not the file's.
    ///
    /// # Errors
    /// 409 `NOT_UPLOADED` when nothing has arrived; otherwise as of [`upload`](Self::upload), and the file is to be announced anew.
    pub async fn confirm(&self, caller: &Identity, id: FileId) -> Result<File, Error> {
        let file = self.find(caller.require_tenant()?, id).await?;
        match file.state {
            // Confirmed twice.
            FileState::Stored if file.deleted_at.is_none() => return Ok(file),
            FileState::Awaited => {}
            FileState::Stored | FileState::Receiving => return Err(missing().into()),
        }
        match self.0.storage.copy(&file.incoming()?, &file.key()?).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message = "nothing has arrived yet: send the bytes first";
                return Err(http::Error::conflict("NOT_UPLOADED", message).into());
            }
            copied => copied?,
        }
        match self.accept(file.clone()).await {
            Ok(stored) => {
                if let Err(error) = self.0.storage.delete(&file.incoming()?).await {
                    tracing::warn!(target: "omnistack::storage", file = %id, %error, "what arrived is swept later");
                }
                Ok(stored)
            }
            // It may be confirmed again.
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => {
                // Of two who confirm at once, the other was faster.
                match self.find(file.tenant_id, id).await {
                    Ok(found) if found.state == FileState::Stored => return Ok(found),
                    _ => self.discard(&file).await,
                }
                Err(error)
            }
        }
    }

    /// Looks at a copy nobody else can change.
    async fn accept(&self, mut file: File) -> Result<File, Error> {
        let key = file.key()?;
        let info = self.0.storage.head(&key).await?;
        if info.size != file.size {
            let message = format!("{} bytes arrived in place of the {} announced", info.size, file.size);
            return Err(Error::new(ErrorKind::Mismatch, message));
        }
        let first = match info.size {
            0 => Bytes::new(),
            _ => {
                let part = ByteRange::Bounded(0, FIRST as u64);
                self.0.storage.get_range(&key, part).await?.bytes(FIRST as u64).await?
            }
        };
        file.content_type = self.admit(&first, Some(&file.content_type))?;
        let sha256 = match file.sha256 {
            Some(expected) => {
                if self.hash(&key).await? != expected {
                    return Err(Error::new(ErrorKind::Mismatch, "another checksum than the one announced"));
                }
                Some(expected)
            }
            None => info.sha256,
        };
        let room = self.room(file.tenant_id).await?;
        let size = file.size;
        Ok(self.finish(file, &key, size, sha256, &room, None).await?.file)
    }

    /// Returns whether bytes may be stored under a key: that of no file of a tenant, or of one that is announced and neither confirmed nor
    /// deleted.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn awaits(&self, key: &ObjectKey) -> Result<bool, Error> {
        let Some((tenant, id)) = File::of_incoming(key) else { return Ok(true) };
        let mut tx = self.0.db.tenant(tenant).read().await?;
        let awaits = store::awaits(&mut tx, tenant, id, self.0.clock.now()).await?;
        tx.commit().await?;
        Ok(awaits)
    }

    async fn hash(&self, key: &ObjectKey) -> Result<Sha256, Error> {
        let mut body = self.0.storage.get(key).await?.body;
        let mut hash = sha2::Sha256::new();
        while let Some(bytes) = body.next().await.transpose()? {
            hash.update(&bytes);
        }
        let bytes: [u8; 32] = hash.finalize().into();
        Sha256::from_bytes(&bytes).ok_or_else(|| Error::new(ErrorKind::Other, "no hash"))
    }
}
