//! Background jobs for exports of tenants.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    audit::AuditEntry,
    email::{Email, EmailErrorKind},
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};

use super::{ExportId, ExportService, ExportState, store};

/// The job that creates the archive of an export.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CreateExportArchive {
    pub(crate) tenant: TenantId,
    pub(crate) export: ExportId,
}

#[async_trait]
impl Job for CreateExportArchive {
    const NAME: &'static str = "exports.create_archive";
    const TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
    const MAX_ATTEMPTS: u32 = 5;
    type State = ExportService;

    async fn run(self, exports: &ExportService, ctx: &JobContext) -> Result<(), JobError> {
        let Some(export) = exports.find(self.tenant, self.export).await? else { return Ok(()) };
        if export.state != ExportState::Waiting {
            return Ok(());
        }
        let (state, size, failure) = match exports.create_archive(&export).await {
            Ok(size) => (ExportState::Ready, Some(size), None),
            Err(error) if ctx.is_last_attempt() => (ExportState::Failed, None, Some(error)),
            Err(error) => return Err(JobError::retry(error)),
        };
        let inner = &exports.0;
        let mut tx = inner.files.0.db.tenant(self.tenant).begin().await?;
        if store::finish(&mut tx, &export, state, size, inner.files.0.clock.now()).await? && state == ExportState::Ready
        {
            let entry = AuditEntry::new("tenant.exported").for_tenant(self.tenant).resource("export", export.id);
            inner.audit.record_in(&mut tx, entry).await?;
            inner.jobs.enqueue_in(&mut tx, MailExportLink { tenant: self.tenant, export: self.export }).await?;
        }
        tx.commit().await?;
        failure.map_or(Ok(()), |error| Err(JobError::retry(error)))
    }
}

/// Mails the link to an archive to the user who requested the export.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MailExportLink {
    tenant: TenantId,
    export: ExportId,
}

#[async_trait]
impl Job for MailExportLink {
    const NAME: &'static str = "exports.mail_link";
    type State = ExportService;

    async fn run(self, exports: &ExportService, _: &JobContext) -> Result<(), JobError> {
        let Some(export) = exports.find(self.tenant, self.export).await? else { return Ok(()) };
        let inner = &exports.0;
        // A former member gets no link.
        let Some(contact) = inner.contacts.find(export.user_id, Some(self.tenant)).await? else { return Ok(()) };
        let left = export.expires_at.duration_since(inner.files.0.clock.now());
        if left < Duration::from_secs(1) {
            return Ok(());
        }
        let link = exports.link(&export, left).await?;
        let until = export.expires_at.to_readable();
        let text = format!(
            "The export of your team's data that you requested is ready. Download it until {until}:\n\n{link}\n\nEach person who \
             has this link can download it, so don't pass this mail on.\n"
        );
        let mail = Email::to(&contact.address)
            .subject(format!("Your export of {} is ready", inner.app))
            .text(text)
            .idempotency_key(format!("export-{}", export.id));
        match inner.mailer.send(&mail).await {
            Ok(_) => Ok(()),
            // The export can be downloaded in the app.
            Err(error) if error.kind() == EmailErrorKind::Configuration => {
                tracing::warn!(target: "omnistack::files", %error, export = %export.id, "the link to an export was not mailed");
                Ok(())
            }
            Err(error) if error.is_retryable() => Err(JobError::retry(error)),
            Err(error) => Err(JobError::fatal(error)),
        }
    }
}

/// The job that deletes the archives of exports that have expired. Runs every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeleteExpiredExports {}

#[async_trait]
impl Job for DeleteExpiredExports {
    const NAME: &'static str = "exports.delete_expired";
    type State = ExportService;

    async fn run(self, exports: &ExportService, _: &JobContext) -> Result<(), JobError> {
        exports.delete_expired().await?;
        Ok(())
    }
}

/// The job that lets the exports of a deleted tenant expire, so that the next hourly job deletes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExpireTenantExports {
    pub(crate) tenant: TenantId,
}

#[async_trait]
impl Job for ExpireTenantExports {
    const NAME: &'static str = "exports.expire_of_tenant";
    type State = ExportService;

    async fn run(self, exports: &ExportService, _: &JobContext) -> Result<(), JobError> {
        let files = &exports.0.files.0;
        let mut tx = files.db.tenant(self.tenant).begin().await?;
        store::expire_all(&mut tx, self.tenant, files.clock.now()).await?;
        tx.commit().await?;
        Ok(())
    }
}
