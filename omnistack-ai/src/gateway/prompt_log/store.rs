//! The SQL of the prompt log, and the job that deletes entries.

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db::{self, Tx},
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{LoggedCall, PromptLog, PromptLogDetails, PromptLogEntry, PromptLogSettings, content::describe_response};
use crate::call::CallId;

/// Largest number of entries that one statement deletes, so that its locks are short.
const BATCH: u64 = 1_000;
const DAY: Duration = Duration::from_secs(86_400);

/// An entry without its texts.
#[derive(Debug, db::FromRow)]
pub(super) struct EntryRow {
    pub(super) id: CallId,
    asked_model: String,
    provider: String,
    model: String,
    error: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl From<EntryRow> for PromptLogEntry {
    fn from(row: EntryRow) -> Self {
        Self {
            id: row.id,
            asked_model: row.asked_model,
            provider: row.provider,
            model: row.model,
            error: row.error,
            created_at: row.created_at,
            expires_at: row.expires_at,
        }
    }
}

/// An entry with its texts.
#[derive(db::FromRow)]
pub(super) struct DetailsRow {
    #[sqlx(flatten)]
    entry: EntryRow,
    request: String,
    response: String,
}

impl From<DetailsRow> for PromptLogDetails {
    fn from(row: DetailsRow) -> Self {
        let read = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        Self { request: read(&row.request), response: read(&row.response), entry: row.entry.into() }
    }
}

/// Returns the settings of a tenant, if it has changed them.
pub(super) async fn settings(tx: &mut Tx, tenant: TenantId) -> Result<Option<PromptLogSettings>, db::Error> {
    let row: Option<(bool, i32)> = tx
        .query("select enabled, retention_days from omni_ai_prompt_log_settings where tenant_id = $1")
        .bind(tenant)
        .fetch_optional()
        .await?;
    Ok(row.map(|(enabled, retention_days)| PromptLogSettings { enabled, retention_days }))
}

/// Stores the settings of a tenant.
pub(super) async fn put_settings(
    tx: &mut Tx,
    tenant: TenantId,
    settings: PromptLogSettings,
    now: Timestamp,
) -> Result<(), db::Error> {
    tx.query(
        "insert into omni_ai_prompt_log_settings (tenant_id, enabled, retention_days, updated_at)
        values ($1, $2, $3, $4)
        on conflict (tenant_id) do update set enabled = excluded.enabled, retention_days = excluded.retention_days,
            updated_at = excluded.updated_at",
    )
    .bind(tenant)
    .bind(settings.enabled)
    .bind(settings.retention_days)
    .bind(now)
    .execute()
    .await?;
    Ok(())
}

/// Adds an entry.
pub(super) async fn insert(tx: &mut Tx, call: LoggedCall<'_>, now: Timestamp) -> Result<(), db::Error> {
    let days = u32::try_from(call.retention_days).unwrap_or(0);
    tx.query(
        "insert into omni_ai_prompt_log (id, tenant_id, environment, user_id, api_key_id, asked_model, provider, model,
            error, request, response, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) on conflict (id) do nothing",
    )
    .bind(call.id)
    .bind(call.caller.tenant)
    .bind(call.caller.environment.as_str())
    .bind(call.caller.user)
    .bind(call.caller.api_key)
    .bind(call.asked_model.to_owned())
    .bind(call.provider.to_owned())
    // PostgreSQL refuses NUL, which a provider may send.
    .bind(call.response.model.replace('\0', ""))
    .bind(call.error.map(str::to_owned))
    .bind(call.request.0)
    .bind(describe_response(call.response).to_string())
    .bind(now)
    .bind(now + DAY * days)
    .execute()
    .await?;
    Ok(())
}

/// Returns entries of a tenant that have not expired, newest first.
pub(super) async fn list(
    tx: &mut Tx,
    tenant: TenantId,
    before: Option<CallId>,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<EntryRow>, db::Error> {
    let before = before.unwrap_or_else(|| CallId::from_uuid(Uuid::max()));
    tx.query(
        "select id, asked_model, provider, model, error, created_at, expires_at from omni_ai_prompt_log
        where tenant_id = $1 and id < $2 and expires_at > $3 order by id desc limit $4",
    )
    .bind(tenant)
    .bind(before)
    .bind(now)
    .bind(limit)
    .fetch_all()
    .await
}

/// Returns an entry of a tenant, unless it has expired.
pub(super) async fn get(
    tx: &mut Tx,
    tenant: TenantId,
    id: CallId,
    now: Timestamp,
) -> Result<Option<DetailsRow>, db::Error> {
    tx.query(
        "select id, asked_model, provider, model, error, created_at, expires_at, request, response
        from omni_ai_prompt_log where tenant_id = $1 and id = $2 and expires_at > $3",
    )
    .bind(tenant)
    .bind(id)
    .bind(now)
    .fetch_optional()
    .await
}

/// Deletes all entries of a tenant. Returns their number.
pub(super) async fn delete_all(tx: &mut Tx, tenant: TenantId) -> Result<u64, db::Error> {
    tx.query("delete from omni_ai_prompt_log where tenant_id = $1").bind(tenant).execute().await
}

/// The job that deletes entries whose retention has ended. It runs every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PurgePromptLog {}

#[async_trait]
impl Job for PurgePromptLog {
    const NAME: &'static str = "ai.purge_prompt_log";

    type State = PromptLog;

    async fn run(self, log: &PromptLog, _: &JobContext) -> Result<(), JobError> {
        let now = log.clock.now();
        loop {
            // The job has no caller, so it accesses all tenants.
            let mut tx = log.db.all_tenants().begin().await?;
            let delete = tx.query(
                "delete from omni_ai_prompt_log where id in (
                    select id from omni_ai_prompt_log where expires_at <= $1 order by expires_at limit $2)",
            );
            let deleted = delete.bind(now).bind(i64::try_from(BATCH).unwrap_or(i64::MAX)).execute().await?;
            tx.commit().await?;
            if deleted < BATCH {
                return Ok(());
            }
        }
    }
}
