//! Files, as they are shown.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    id::Id,
    identity::{TenantId, UserId},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{KeyError, ObjectKey};

/// Whose ids are [`FileId`]s.
#[derive(Debug)]
pub enum FileMarker {}

/// A file's id.
pub type FileId = Id<FileMarker>;

/// A file of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = StoredFile)]
#[non_exhaustive]
pub struct File {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: FileId,
    /// Whose it is.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// Who uploaded it.
    #[schema(value_type = String, format = Uuid)]
    pub user_id: UserId,
    /// What it is called. Not unique.
    pub name: String,
    /// What it is, by its first bytes.
    pub content_type: String,
    /// Its bytes; of one that is awaited, how many are announced.
    pub size: u64,
    /// The SHA-256 of its bytes in hexadecimal digits, where it is known.
    #[schema(required, value_type = Option<String>)]
    pub sha256: Option<Sha256>,
    /// Whether its bytes are there.
    pub state: FileState,
    /// When it was announced.
    pub created_at: Timestamp,
    /// What it is marked with.
    pub tags: Vec<String>,
    /// The storage class it was moved to, if it was; `elsewhere` in an archive of its own.
    #[schema(required)]
    pub storage_class: Option<String>,
    /// Until when it can be read, of a file that was brought back from an archive elsewhere.
    #[schema(required)]
    pub restored_until: Option<Timestamp>,
    /// For how many days it is being brought back from there; 0 while the copy here is being removed.
    #[serde(skip)]
    pub(crate) restoring: Option<i32>,
    /// When it was deleted, if it is. Until it is removed for good it can be restored.
    #[schema(required)]
    pub deleted_at: Option<Timestamp>,
}

impl File {
    /// Where its bytes are.
    ///
    /// # Errors
    /// Never: ids make good keys.
    pub fn key(&self) -> Result<ObjectKey, KeyError> {
        ObjectKey::new(format!("files/{}/{}", self.tenant_id, self.id))
    }

    /// Whether its bytes are in an archive elsewhere, and none of them here.
    pub(crate) fn is_away(&self, now: Timestamp) -> bool {
        self.storage_class.as_deref() == Some(ELSEWHERE) && self.restored_until.is_none_or(|until| until <= now)
    }

    /// Where bytes arrive that don't pass through the app.
    pub(crate) fn incoming(&self) -> Result<ObjectKey, KeyError> {
        ObjectKey::new(format!("{INCOMING}{}/{}", self.tenant_id, self.id))
    }

    /// Returns whose bytes arrive under this key, if a file's do.
    pub(crate) fn of_incoming(key: &ObjectKey) -> Option<(TenantId, FileId)> {
        let (tenant, file) = key.as_str().strip_prefix(INCOMING)?.split_once('/')?;
        Some((tenant.parse().ok()?, file.parse().ok()?))
    }
}

/// A file that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// The file.
    pub file: File,
    /// Whether it was stored by an earlier request with the same `Idempotency-Key`.
    pub replayed: bool,
}

/// The class of files that are in an archive of their own.
pub(crate) const ELSEWHERE: &str = "elsewhere";

/// Where bytes arrive that don't pass through the app.
pub(crate) const INCOMING: &str = "incoming/";

/// Whether a file's bytes are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// They come through the app.
    Receiving,
    /// They are to come by a link.
    Awaited,
    /// They are.
    Stored,
}

impl FileState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Awaited => "awaited",
            Self::Stored => "stored",
        }
    }

    pub(crate) fn read(text: &str) -> Self {
        match text {
            "receiving" => Self::Receiving,
            "awaited" => Self::Awaited,
            _ => Self::Stored,
        }
    }
}

/// A file to be.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct NewFile {
    /// What it is called: 1 to 255 bytes, without slashes, backslashes and control characters.
    pub name: String,
    /// What it is said to be.
    pub content_type: Option<String>,
    /// How many bytes it has, if that is known.
    pub size: Option<u64>,
    /// Their checksum, if the sender says one: others are refused.
    pub sha256: Option<Sha256>,
    /// What it is marked with: at most 10, each of 1 to 50 of `a-z`, `0-9`, `-`, `_`, `.`.
    pub tags: Vec<String>,
}

impl NewFile {
    /// Called this.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Said to be this.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Of so many bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// With this checksum.
    #[must_use]
    pub fn sha256(mut self, sha256: Sha256) -> Self {
        self.sha256 = Some(sha256);
        self
    }

    /// Marked with these.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }
}

/// How much a tenant stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StorageUsed {
    /// Bytes of its files, with deleted ones that can be restored and those that are on their way.
    pub bytes: u64,
    /// How many its plan allows; absent without a limit.
    #[schema(required)]
    pub limit: Option<u64>,
}
