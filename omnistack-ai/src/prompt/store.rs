//! The SQL of prompts.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, ErrorKind, FromRow, Sql, Tx},
    identity::{TenantId, UserId},
};
use serde::{Serialize, de::DeserializeOwned};

use super::model::{
    PromptAccess, PromptLabel, PromptOverride, PromptSummary, PromptVersionDetails, PromptVersionSummary,
};

/// A prompt as it is stored.
#[derive(Debug, FromRow)]
struct PromptRow {
    name: String,
    description: String,
    access: String,
    last_version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<PromptRow> for PromptSummary {
    fn from(row: PromptRow) -> Self {
        let PromptRow { name, description, access, last_version, created_at, updated_at } = row;
        let access = PromptAccess::from_stored(&access);
        Self { name, description, access, last_version, created_at, updated_at }
    }
}

/// A version as it is stored, without its content.
#[derive(Debug, FromRow)]
struct VersionRow {
    version: i64,
    note: String,
    created_by: UserId,
    created_at: Timestamp,
}

impl From<VersionRow> for PromptVersionSummary {
    fn from(row: VersionRow) -> Self {
        let VersionRow { version, note, created_by, created_at } = row;
        Self { version, note, created_by, created_at }
    }
}

/// Writes a value as it is stored.
fn to_json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::InvalidValue, error.into()))
}

/// Reads a stored value.
fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::new(ErrorKind::Other, error.into()))
}

/// Returns the prompts after a name, at most `limit`. With `shared`, only those that members of tenants can use.
pub(super) async fn list(tx: &mut Tx, after: &str, shared: bool, limit: i64) -> Result<Vec<PromptSummary>, Error> {
    let all = "select name, description, access, last_version, created_at, updated_at from omni_ai_prompts \
               where name > $1 order by name limit $2";
    let some = "select name, description, access, last_version, created_at, updated_at from omni_ai_prompts \
                where name > $1 and access <> 'internal' order by name limit $2";
    let query = tx.query(if shared { some } else { all }).bind(after.to_owned()).bind(limit);
    let rows: Vec<PromptRow> = query.fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Returns a prompt.
pub(super) async fn get(tx: &mut Tx, name: &str) -> Result<Option<PromptSummary>, Error> {
    let sql = "select name, description, access, last_version, created_at, updated_at from omni_ai_prompts \
               where name = $1";
    let row: Option<PromptRow> = tx.query(sql).bind(name.to_owned()).fetch_optional().await?;
    Ok(row.map(Into::into))
}

/// Returns a prompt, which no other transaction changes until this one ends.
pub(super) async fn lock(tx: &mut Tx, name: &str) -> Result<Option<PromptSummary>, Error> {
    let sql = Sql {
        postgres: "select name, description, access, last_version, created_at, updated_at from omni_ai_prompts \
                   where name = $1 for update",
        sqlite: "select name, description, access, last_version, created_at, updated_at from omni_ai_prompts \
                 where name = $1",
    };
    let row: Option<PromptRow> = tx.query(sql).bind(name.to_owned()).fetch_optional().await?;
    Ok(row.map(Into::into))
}

/// Inserts a prompt.
pub(super) async fn insert(tx: &mut Tx, prompt: &PromptSummary) -> Result<(), Error> {
    let sql = "insert into omni_ai_prompts (name, description, access, last_version, created_at, updated_at) \
               values ($1, $2, $3, $4, $5, $6)";
    let insert = tx.query(sql).bind(prompt.name.clone()).bind(prompt.description.clone());
    let insert = insert.bind(prompt.access.as_str()).bind(prompt.last_version);
    insert.bind(prompt.created_at).bind(prompt.updated_at).execute().await?;
    Ok(())
}

/// Stores the changed fields of a prompt.
pub(super) async fn update(tx: &mut Tx, prompt: &PromptSummary) -> Result<(), Error> {
    let sql = "update omni_ai_prompts set description = $2, access = $3, last_version = $4, updated_at = $5 \
               where name = $1";
    let update = tx.query(sql).bind(prompt.name.clone()).bind(prompt.description.clone());
    let update = update.bind(prompt.access.as_str()).bind(prompt.last_version).bind(prompt.updated_at);
    update.execute().await?;
    Ok(())
}

/// Deletes a prompt, its versions, labels and overrides.
pub(super) async fn delete(tx: &mut Tx, name: &str) -> Result<(), Error> {
    tx.query("delete from omni_ai_prompts where name = $1").bind(name.to_owned()).execute().await?;
    Ok(())
}

/// Inserts a version.
pub(super) async fn insert_version(tx: &mut Tx, name: &str, details: &PromptVersionDetails) -> Result<(), Error> {
    let sql = "insert into omni_ai_prompt_versions (name, version, content, note, created_by, created_at) \
               values ($1, $2, $3, $4, $5, $6)";
    let PromptVersionDetails { version, content } = details;
    let insert = tx.query(sql).bind(name.to_owned()).bind(version.version).bind(to_json(content)?);
    insert.bind(version.note.clone()).bind(version.created_by).bind(version.created_at).execute().await?;
    Ok(())
}

/// Returns the newest versions, at most `limit`.
pub(super) async fn versions(tx: &mut Tx, name: &str, limit: i64) -> Result<Vec<PromptVersionSummary>, Error> {
    let sql = "select version, note, created_by, created_at from omni_ai_prompt_versions where name = $1 \
               order by version desc limit $2";
    let rows: Vec<VersionRow> = tx.query(sql).bind(name.to_owned()).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Returns a version.
pub(super) async fn version(tx: &mut Tx, name: &str, version: i64) -> Result<Option<PromptVersionDetails>, Error> {
    let sql = "select version, note, created_by, created_at, content from omni_ai_prompt_versions \
               where name = $1 and version = $2";
    let row: Option<(i64, String, UserId, Timestamp, String)> =
        tx.query(sql).bind(name.to_owned()).bind(version).fetch_optional().await?;
    let Some((version, note, created_by, created_at, content)) = row else { return Ok(None) };
    let version = PromptVersionSummary { version, note, created_by, created_at };
    Ok(Some(PromptVersionDetails { version, content: from_json(&content)? }))
}

/// A label as it is stored.
#[derive(Debug, FromRow)]
struct LabelRow {
    label: String,
    versions: String,
    previous: Option<String>,
    flag: Option<String>,
    previous_flag: Option<String>,
    updated_at: Timestamp,
}

impl LabelRow {
    fn read(self) -> Result<PromptLabel, Error> {
        let Self { label, versions, previous, flag, previous_flag, updated_at } = self;
        let previous = previous.map(|text| from_json(&text)).transpose()?;
        Ok(PromptLabel { label, versions: from_json(&versions)?, previous, flag, previous_flag, updated_at })
    }
}

/// Returns the labels of a prompt. Their number is limited when they are stored.
pub(super) async fn labels(tx: &mut Tx, name: &str) -> Result<Vec<PromptLabel>, Error> {
    let sql = "select label, versions, previous, flag, previous_flag, updated_at from omni_ai_prompt_labels \
               where name = $1 order by label";
    let rows: Vec<LabelRow> = tx.query(sql).bind(name.to_owned()).fetch_all().await?;
    rows.into_iter().map(LabelRow::read).collect()
}

/// Returns a label.
pub(super) async fn label(tx: &mut Tx, name: &str, label: &str) -> Result<Option<PromptLabel>, Error> {
    let sql = "select label, versions, previous, flag, previous_flag, updated_at from omni_ai_prompt_labels \
               where name = $1 and label = $2";
    let row: Option<LabelRow> = tx.query(sql).bind(name.to_owned()).bind(label.to_owned()).fetch_optional().await?;
    row.map(LabelRow::read).transpose()
}

/// Inserts or replaces a label.
pub(super) async fn put_label(tx: &mut Tx, name: &str, label: &PromptLabel, user: UserId) -> Result<(), Error> {
    let sql = "insert into omni_ai_prompt_labels \
               (name, label, versions, previous, flag, previous_flag, updated_by, updated_at) \
               values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (name, label) do update set \
               versions = excluded.versions, previous = excluded.previous, flag = excluded.flag, \
               previous_flag = excluded.previous_flag, updated_by = excluded.updated_by, \
               updated_at = excluded.updated_at";
    let previous = label.previous.as_ref().map(to_json).transpose()?;
    let insert = tx.query(sql).bind(name.to_owned()).bind(label.label.clone()).bind(to_json(&label.versions)?);
    let insert = insert.bind(previous).bind(label.flag.clone()).bind(label.previous_flag.clone());
    insert.bind(user).bind(label.updated_at).execute().await?;
    Ok(())
}

/// Deletes a label. Returns whether there was one.
pub(super) async fn delete_label(tx: &mut Tx, name: &str, label: &str) -> Result<bool, Error> {
    let sql = "delete from omni_ai_prompt_labels where name = $1 and label = $2";
    let deleted = tx.query(sql).bind(name.to_owned()).bind(label.to_owned()).execute().await?;
    Ok(deleted > 0)
}

/// Returns the override of a tenant.
pub(super) async fn tenant_override(
    tx: &mut Tx,
    tenant: TenantId,
    name: &str,
) -> Result<Option<PromptOverride>, Error> {
    let sql = "select revision, content, updated_at from omni_ai_prompt_overrides where tenant_id = $1 and name = $2";
    let row: Option<(i64, String, Timestamp)> =
        tx.query(sql).bind(tenant).bind(name.to_owned()).fetch_optional().await?;
    let Some((revision, content, updated_at)) = row else { return Ok(None) };
    Ok(Some(PromptOverride { revision, content: from_json(&content)?, updated_at }))
}

/// Inserts or replaces the override of a tenant.
pub(super) async fn put_override(
    tx: &mut Tx,
    tenant: TenantId,
    name: &str,
    change: &PromptOverride,
    user: UserId,
) -> Result<(), Error> {
    let sql = "insert into omni_ai_prompt_overrides (tenant_id, name, revision, content, updated_by, updated_at) \
               values ($1, $2, $3, $4, $5, $6) on conflict (tenant_id, name) do update set \
               revision = excluded.revision, content = excluded.content, updated_by = excluded.updated_by, \
               updated_at = excluded.updated_at";
    let insert = tx.query(sql).bind(tenant).bind(name.to_owned()).bind(change.revision);
    insert.bind(to_json(&change.content)?).bind(user).bind(change.updated_at).execute().await?;
    Ok(())
}

/// Deletes the override of a tenant. Returns whether there was one.
pub(super) async fn delete_override(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<bool, Error> {
    let sql = "delete from omni_ai_prompt_overrides where tenant_id = $1 and name = $2";
    let deleted = tx.query(sql).bind(tenant).bind(name.to_owned()).execute().await?;
    Ok(deleted > 0)
}
