//! Exports of tenants: an archive with the rows that modules hand out and the tenant's files, stored in the storage, with a
//! link by mail.

mod archive;
pub(crate) mod jobs;
mod store;

use std::{fmt, sync::Arc, time::Duration};

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Timestamp,
    db,
    email::{Mailer, UserContacts},
    http,
    id::Id,
    identity::{Identity, TenantId, UserId},
    jobs::{EnqueueError, Jobs},
    tenant_export::TenantExports,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Error, ErrorKind, FileService, KeyError, ObjectKey, PresignRequest};
use jobs::CreateExportArchive;

/// Exports that a list has. Those of a tenant are created one after another, and are deleted after some days.
const MAX_LISTED_EXPORTS: i64 = 100;

/// The number of rows that are read from the database at a time.
const ROWS_PER_BATCH: i64 = 200;

/// The marker type of [`ExportId`].
#[derive(Debug)]
pub enum ExportMarker {}

/// The id of an export.
pub type ExportId = Id<ExportMarker>;

/// The state of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportState {
    /// The archive is being created.
    Waiting,
    /// The archive can be downloaded.
    Ready,
    /// The archive could not be created. Request another export.
    Failed,
}

impl ExportState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    fn from_db(text: &str) -> Self {
        match text {
            "ready" => Self::Ready,
            "failed" => Self::Failed,
            _ => Self::Waiting,
        }
    }
}

/// An export of a tenant's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct TenantExport {
    /// The id of the export.
    #[schema(value_type = String, format = Uuid)]
    pub id: ExportId,
    /// The tenant.
    #[serde(skip)]
    pub tenant_id: TenantId,
    /// The user who requested it.
    #[schema(value_type = String, format = Uuid)]
    pub user_id: UserId,
    /// Whether the archive can be downloaded.
    pub state: ExportState,
    /// The size of the archive in bytes; `null` before it is ready.
    #[schema(required)]
    pub size: Option<u64>,
    /// When it was requested.
    pub created_at: Timestamp,
    /// When the archive was ready, or the export failed.
    #[schema(required)]
    pub finished_at: Option<Timestamp>,
    /// When the archive is deleted.
    pub expires_at: Timestamp,
}

impl TenantExport {
    pub(crate) fn key(&self) -> Result<ObjectKey, KeyError> {
        ObjectKey::new(format!("exports/{}/{}.zip", self.tenant_id, self.id))
    }
}

/// The handle that requests and returns exports of tenants. Provided by [`Files`](crate::Files). Cheap to clone.
///
/// ```
/// use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{ExportService, ExportState, Files, Memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(DevIdentity::default()).with(Files::new(Memory::default())).build()?;
/// app.migrate().await?;
///
/// let exports: ExportService = app.context().get()?;
/// let caller = DevIdentity::identity();
/// let requested = exports.request(&caller).await?;
/// // A job creates the archive.
/// let (export, link) = exports.get(&caller, requested.id).await?;
/// assert_eq!((export.state, link), (ExportState::Waiting, None));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ExportService(pub(crate) Arc<ExportServiceInner>);

pub(crate) struct ExportServiceInner {
    pub(crate) files: FileService,
    pub(crate) rows: TenantExports,
    pub(crate) jobs: Jobs,
    pub(crate) audit: AuditLog,
    pub(crate) mailer: Mailer,
    pub(crate) contacts: UserContacts,
    pub(crate) app: String,
    /// The title and version of the app are in the archive.
    pub(crate) version: String,
    pub(crate) retention: Duration,
}

impl ExportService {
    /// Requests an export of the caller's tenant. A job creates the archive, and mails the link to the caller.
    ///
    /// # Errors
    /// 403 if the caller has no tenant, 409 `EXPORT_IN_PROGRESS` while another one is created; database errors.
    pub async fn request(&self, caller: &Identity) -> Result<TenantExport, Error> {
        let tenant = caller.require_tenant()?;
        let inner = &self.0;
        let now = inner.files.0.clock.now();
        let export = TenantExport {
            id: Id::new(now),
            tenant_id: tenant,
            user_id: caller.user,
            state: ExportState::Waiting,
            size: None,
            created_at: now,
            finished_at: None,
            expires_at: now + inner.retention,
        };
        let mut tx = inner.files.0.db.tenant(tenant).begin().await?;
        store::insert(&mut tx, &export).await.map_err(in_progress)?;
        let job = CreateExportArchive { tenant, export: export.id };
        inner.jobs.enqueue_in(&mut tx, job).await.map_err(enqueue_error)?;
        let entry = AuditEntry::new("tenant.export_requested").actor(caller).resource("export", export.id);
        inner.audit.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(export)
    }

    /// Returns the newest exports of the caller's tenant.
    ///
    /// # Errors
    /// 403 if the caller has no tenant; database errors.
    pub async fn list(&self, caller: &Identity) -> Result<Vec<TenantExport>, Error> {
        let tenant = caller.require_tenant()?;
        let mut tx = self.0.files.0.db.tenant(tenant).begin_read().await?;
        let exports = store::list(&mut tx, tenant, MAX_LISTED_EXPORTS).await?;
        tx.commit().await?;
        Ok(exports)
    }

    /// Returns an export of the caller's tenant, and a URL for its archive if it is ready, which is valid for `FILES_LINK`.
    ///
    /// # Errors
    /// 404 if there is no such export; [`ErrorKind::Unsupported`] if the provider has no signed URLs; database errors.
    pub async fn get(&self, caller: &Identity, id: ExportId) -> Result<(TenantExport, Option<String>), Error> {
        let export = self.find(caller.require_tenant()?, id).await?;
        let Some(export) = export else { return Err(http::Error::not_found("the export").into()) };
        let link = match export.state {
            ExportState::Ready => Some(self.link(&export, self.0.files.0.settings.link).await?),
            ExportState::Waiting | ExportState::Failed => None,
        };
        Ok((export, link))
    }

    /// Deletes the exports whose `EXPORTS_RETENTION` has passed, with their archives, and returns their number. A job runs
    /// this every hour.
    ///
    /// # Errors
    /// Errors of the database and of the provider. What was not deleted is deleted by the next run.
    pub async fn delete_expired(&self) -> Result<usize, Error> {
        let files = &self.0.files.0;
        let mut deleted = 0;
        loop {
            // The exports of all tenants expire.
            let mut tx = files.db.all_tenants().begin_read().await?;
            let expired = store::list_expired(&mut tx, files.clock.now(), ROWS_PER_BATCH).await?;
            tx.commit().await?;
            if expired.is_empty() {
                return Ok(deleted);
            }
            for export in &expired {
                files.storage.delete(&export.key()?).await?;
                let mut tx = files.db.tenant(export.tenant_id).begin().await?;
                store::remove(&mut tx, export).await?;
                tx.commit().await?;
            }
            deleted += expired.len();
        }
    }

    async fn find(&self, tenant: TenantId, id: ExportId) -> Result<Option<TenantExport>, Error> {
        let mut tx = self.0.files.0.db.tenant(tenant).begin_read().await?;
        let export = store::find(&mut tx, tenant, id).await?;
        tx.commit().await?;
        Ok(export)
    }

    /// Returns a URL of the archive.
    async fn link(&self, export: &TenantExport, expires_in: Duration) -> Result<String, Error> {
        let storage = &self.0.files.0.storage;
        let plain = PresignRequest::get(export.key()?, expires_in);
        let name = format!("attachment; filename=\"export-{}.zip\"", export.id);
        let named = plain.clone().content_type("application/zip").content_disposition(name);
        let signed = match storage.presign(&named).await {
            // The provider can't set the name of the file.
            Err(error) if error.kind() == ErrorKind::Unsupported => storage.presign(&plain).await?,
            signed => signed?,
        };
        Ok(signed.url)
    }
}

impl fmt::Debug for ExportService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportService").field("rows", &self.0.rows).finish_non_exhaustive()
    }
}

fn in_progress(error: db::Error) -> Error {
    match error.kind() {
        db::ErrorKind::Unique => {
            http::Error::conflict("EXPORT_IN_PROGRESS", "an export is being created: wait until it is ready").into()
        }
        _ => error.into(),
    }
}

fn enqueue_error(error: EnqueueError) -> Error {
    http::Error::from(error).into()
}
