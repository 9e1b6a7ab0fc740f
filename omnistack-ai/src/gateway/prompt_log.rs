//! The log of prompts and answers, of the tenants that want one. It is off by default.
//!
//! A tenant switches it on and off, and chooses for how many days an entry is kept. Calls that end in an answer or an
//! error are logged; those whose caller has left are not.

mod content;
mod routes;
mod store;

pub(crate) use content::LoggedRequest;
pub(crate) use routes::api;
pub(crate) use store::PurgePromptLog;

use std::time::Duration;

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    cache::Cache,
    clock::{Clock, Timestamp},
    db::{self, Db},
    http::{CursorPage, Error, FieldError},
    identity::{Identity, TenantId},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{call::AiCaller, call::CallId, chat::ChatResponse};

/// The time for which a replica may use a setting that another one has changed.
const SETTING_TTL: Duration = Duration::from_secs(60);
/// The days for which entries are kept unless the tenant chooses others.
const DEFAULT_RETENTION_DAYS: i32 = 30;

/// The logs of all tenants. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PromptLog {
    pub(crate) db: Db,
    pub(crate) cache: Cache,
    pub(crate) clock: Clock,
    pub(crate) audit: AuditLog,
}

/// Whether prompts of a tenant are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PromptLogSettings {
    /// Whether prompts and answers are logged.
    pub(crate) enabled: bool,
    /// The days after which an entry is deleted.
    pub(crate) retention_days: i32,
}

impl Default for PromptLogSettings {
    fn default() -> Self {
        Self { enabled: false, retention_days: DEFAULT_RETENTION_DAYS }
    }
}

/// A call to log.
pub(super) struct LoggedCall<'a> {
    pub(super) id: CallId,
    pub(super) caller: &'a AiCaller,
    pub(super) asked_model: &'a str,
    pub(super) provider: &'a str,
    pub(super) error: Option<&'static str>,
    pub(super) request: LoggedRequest,
    pub(super) response: &'a ChatResponse,
    pub(super) retention_days: i32,
}

impl PromptLog {
    /// Returns the days for which a call of the tenant is kept, or `None` if it is not logged.
    pub(super) async fn retention(&self, tenant: TenantId) -> Option<i32> {
        let key = cache_key(tenant);
        let settings = self.cache.get_or_insert_with(&key, SETTING_TTL, move || async move {
            let settings = self.load(tenant).await?;
            Ok::<_, db::Error>((settings.enabled, settings.retention_days))
        });
        match settings.await {
            Ok((enabled, days)) => enabled.then_some(days),
            Err(error) => {
                tracing::warn!(target: "omnistack::ai", %error, "the setting of the prompt log can't be read; nothing is logged");
                None
            }
        }
    }

    /// Logs a call. A failure is written to the app's log.
    pub(super) async fn record(&self, call: LoggedCall<'_>) {
        let id = call.id;
        if let Err(error) = self.insert(call).await {
            tracing::warn!(target: "omnistack::ai", %error, %id, "a call could not be added to the prompt log");
        }
    }

    /// Returns the settings of a tenant.
    pub(super) async fn settings(&self, tenant: TenantId) -> Result<PromptLogSettings, Error> {
        Ok(self.load(tenant).await?)
    }

    /// Changes the settings of the caller's tenant. Entries that exist keep the time at which they are deleted.
    pub(super) async fn change(
        &self,
        caller: &Identity,
        settings: PromptLogSettings,
    ) -> Result<PromptLogSettings, Error> {
        let tenant = caller.require_tenant()?;
        let mut tx = self.db.tenant(tenant).begin().await?;
        store::put_settings(&mut tx, tenant, settings, self.clock.now()).await?;
        let action = if settings.enabled { "ai_prompt_log.enabled" } else { "ai_prompt_log.disabled" };
        let entry = AuditEntry::new(action).actor(caller).resource("tenant", tenant);
        let entry = entry.details(json!({ "retention_days": settings.retention_days }));
        self.audit.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.cache.delete(&cache_key(tenant)).await;
        Ok(settings)
    }

    /// Returns a page of the entries of a tenant, newest first.
    pub(super) async fn list(
        &self,
        tenant: TenantId,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<CursorPage<PromptLogEntry>, Error> {
        let before = cursor.map(str::parse::<CallId>).transpose();
        let before = before
            .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let mut rows = store::list(&mut tx, tenant, before, self.clock.now(), i64::from(limit) + 1).await?;
        tx.commit().await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > most;
        rows.truncate(most);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(CursorPage { items: rows.into_iter().map(Into::into).collect(), next_cursor })
    }

    /// Returns an entry of a tenant with its texts.
    pub(super) async fn get(&self, tenant: TenantId, id: CallId) -> Result<PromptLogDetails, Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let row = store::get(&mut tx, tenant, id, self.clock.now()).await?;
        tx.commit().await?;
        row.map(Into::into).ok_or_else(|| Error::not_found("the entry of the prompt log"))
    }

    /// Deletes all entries of the caller's tenant. Returns their number.
    pub(super) async fn clear(&self, caller: &Identity) -> Result<u64, Error> {
        let tenant = caller.require_tenant()?;
        let mut tx = self.db.tenant(tenant).begin().await?;
        let deleted = store::delete_all(&mut tx, tenant).await?;
        let entry = AuditEntry::new("ai_prompt_log.cleared").actor(caller).resource("tenant", tenant);
        self.audit.record_in(&mut tx, entry.details(json!({ "deleted": deleted }))).await?;
        tx.commit().await?;
        Ok(deleted)
    }

    async fn load(&self, tenant: TenantId) -> Result<PromptLogSettings, db::Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let settings = store::settings(&mut tx, tenant).await?;
        tx.commit().await?;
        Ok(settings.unwrap_or_default())
    }

    async fn insert(&self, call: LoggedCall<'_>) -> Result<(), db::Error> {
        let now = self.clock.now();
        let mut tx = self.db.tenant(call.caller.tenant).begin().await?;
        store::insert(&mut tx, call, now).await?;
        tx.commit().await
    }
}

fn cache_key(tenant: TenantId) -> String {
    format!("ai:prompt_log:{tenant}")
}

/// An entry of the prompt log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PromptLogEntry {
    /// The id of the call.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: CallId,
    /// The model that the caller asked for.
    pub(crate) asked_model: String,
    /// The provider that answered.
    pub(crate) provider: String,
    /// The model that answered.
    pub(crate) model: String,
    /// The error; `null` if the call succeeded.
    #[schema(required)]
    pub(crate) error: Option<String>,
    /// The time of the end of the call.
    pub(crate) created_at: Timestamp,
    /// The time at which the entry is deleted.
    pub(crate) expires_at: Timestamp,
}

/// An entry of the prompt log with its texts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PromptLogDetails {
    /// The entry.
    pub(crate) entry: PromptLogEntry,
    /// The messages as they were sent, without the contents of images and files. Long texts are cut.
    pub(crate) request: serde_json::Value,
    /// The answer.
    pub(crate) response: serde_json::Value,
}
