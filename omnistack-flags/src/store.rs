//! Storage of flags: all SQL of this module.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    FlagDefinition, FlagError, FlagSet, Segment, TenantOverride,
    change::{ChangeRequest, ChangeStep, CurrentFlags},
};
use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::{Clock, Timestamp},
    db::{self, Db, Sql, Tx},
    identity::{Identity, TenantId, UserId},
};

/// A flag as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Flag)]
#[non_exhaustive]
pub struct FlagRecord {
    /// Key of the flag.
    pub key: String,
    /// Revision: the number of the flag's last change.
    pub revision: i64,
    /// Time when the flag was created.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
    /// Definition of the flag.
    pub definition: FlagDefinition,
}

/// One change of a flag.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct FlagChange {
    /// Number of the change, ascending over all flags.
    pub revision: i64,
    /// `created`, `updated`, `removed`, `killed`, `revived`, `imported`, `override_set` or `override_removed`.
    pub action: String,
    /// Definition after the change; `null` if the flag was deleted, or only a tenant's override changed.
    #[schema(required)]
    pub definition: Option<FlagDefinition>,
    /// Tenant whose override changed; `null` for a change of the flag itself.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub tenant: Option<TenantId>,
    /// User who made the change.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub actor: Option<UserId>,
    /// Time of the change.
    pub at: Timestamp,
}

/// Override of a flag for one tenant, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct TenantOverrideRecord {
    /// Id of the tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant: TenantId,
    /// Time of the last change.
    pub updated_at: Timestamp,
    /// The override.
    #[serde(rename = "override")]
    pub value: TenantOverride,
}

#[derive(Clone, Debug)]
pub(super) struct FlagStore {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) log: AuditLog,
}

#[derive(omnistack_core::db::FromRow)]
struct FlagRow {
    key: String,
    definition: String,
    revision: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl FlagRow {
    fn read(self) -> FlagRecord {
        let Self { key, definition, revision, created_at, updated_at } = self;
        let definition = read("flag", &key, &definition).unwrap_or_else(|| unreadable(&key));
        FlagRecord { key, revision, created_at, updated_at, definition }
    }
}

#[derive(omnistack_core::db::FromRow)]
struct ChangeRow {
    revision: i64,
    action: String,
    definition: Option<String>,
    for_tenant: Option<TenantId>,
    actor: Option<UserId>,
    at: Timestamp,
}

/// Runs a long computation, such as compiling the patterns of thousands of flags, on a thread that serves no
/// requests. Fails if the computation panics.
pub(super) async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, db::Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| db::Error::new(db::ErrorKind::Other, error.into()))
}

fn read<T: DeserializeOwned>(what: &str, name: &str, text: &str) -> Option<T> {
    serde_json::from_str(text)
        .map_err(
            |error| tracing::error!(target: "omnistack::flags", what, name, %error, "can't be read by this release"),
        )
        .ok()
}

/// Returns a placeholder for a flag that another release wrote: it depends on itself, so it is broken and off.
fn unreadable(key: &str) -> FlagDefinition {
    FlagDefinition {
        description: "This release can't read this flag.".into(),
        ..FlagDefinition::new(key).prerequisite(key)
    }
}

fn to_json(value: &impl Serialize) -> Result<String, FlagError> {
    serde_json::to_string(value).map_err(FlagError::Serialize)
}

impl FlagStore {
    /// Returns the revision: the number of the last change.
    pub(super) async fn revision(&self) -> Result<i64, db::Error> {
        let (revision,): (i64,) =
            self.db.query("select revision from omni_flag_state where id = 1").fetch_one().await?;
        Ok(revision)
    }

    /// Reads all flags, segments and overrides. The result includes at least the changes up to its revision,
    /// and maybe later ones that are committed meanwhile.
    pub(super) async fn load(&self) -> Result<FlagSet, db::Error> {
        // Overrides of all tenants: every replica evaluates flags for each of them.
        let mut tx = self.db.all_tenants().begin_read().await?;
        let (revision,): (i64,) = tx.query("select revision from omni_flag_state where id = 1").fetch_one().await?;
        let known = load_current(&mut tx).await?;
        tx.rollback().await?;
        let mut overrides: BTreeMap<String, Vec<(String, TenantOverride)>> = BTreeMap::new();
        for (key, tenant, given) in known.overrides {
            overrides.entry(key).or_default().push((tenant.to_string(), given));
        }
        let build = move || FlagSet::build(&known.flags, &known.segments, &overrides, revision);
        off_runtime(build).await
    }

    /// Makes a change in one transaction: its rows, its history and its audit entries. Returns its revision.
    pub(super) async fn apply(&self, change: ChangeRequest, caller: &Identity) -> Result<i64, FlagError> {
        let change = off_runtime(move || change.check().map(|()| change)).await??;
        // An override belongs to one tenant, but checking it reads the flags of the whole app.
        let mut tx = self.db.all_tenants().begin().await?;
        let (revision,): (i64,) = tx
            .query("update omni_flag_state set revision = revision + 1 where id = 1 returning revision")
            .fetch_one()
            .await?;
        let revisions: Vec<(String, i64)> = tx.query("select key, revision from omni_flags").fetch_all().await?;
        let mut known = load_current(&mut tx).await?;
        known.revisions = revisions.into_iter().collect();
        let is_import = matches!(change, ChangeRequest::Import(_));
        let steps = change.steps(&known)?;
        let now = self.clock.now();
        save(&mut tx, &steps, revision, now, caller).await?;
        for step in &steps {
            write(&mut tx, step, revision, now, caller).await?;
        }
        // Audit entries come last: until the commit, other transactions that append to the same audit chain
        // wait.
        if is_import {
            let flags = steps.iter().filter(|step| matches!(step, ChangeStep::Save { .. })).count();
            let details = json!({ "revision": revision, "flags": flags, "segments": steps.len() - flags });
            let entry = AuditEntry::new("flag.imported").actor(caller).for_app().details(details);
            self.log.record_in(&mut tx, entry).await?;
        } else {
            for step in steps {
                let entry =
                    AuditEntry::new(step.audit_action()).actor(caller).for_app().resource(step.kind(), step.subject());
                self.log.record_in(&mut tx, entry.details(step.details(revision))).await?;
            }
        }
        tx.commit().await?;
        Ok(revision)
    }

    /// Returns flags sorted by key, starting after a key.
    pub(super) async fn list(&self, after: &str, limit: u32) -> Result<Vec<FlagRecord>, db::Error> {
        let rows: Vec<FlagRow> = self
            .db
            .query(
                "select key, definition, revision, created_at, updated_at from omni_flags where key > $1
                 order by key limit $2",
            )
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(FlagRow::read).collect())
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<FlagRecord>, db::Error> {
        let row: Option<FlagRow> = self
            .db
            .query("select key, definition, revision, created_at, updated_at from omni_flags where key = $1")
            .bind(key)
            .fetch_optional()
            .await?;
        Ok(row.map(FlagRow::read))
    }

    /// Returns a flag's changes, newest first, starting before a revision.
    pub(super) async fn history(&self, key: &str, before: i64, limit: u32) -> Result<Vec<FlagChange>, db::Error> {
        let rows: Vec<ChangeRow> = self
            .db
            .query(
                "select revision, action, definition, for_tenant, actor, at from omni_flag_history
                 where key = $1 and revision < $2 order by revision desc limit $3",
            )
            .bind(key)
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all()
            .await?;
        let change = |row: ChangeRow| {
            let ChangeRow { revision, action, definition, for_tenant: tenant, actor, at } = row;
            let definition = definition.and_then(|text| read("change", key, &text));
            FlagChange { revision, action, definition, tenant, actor, at }
        };
        Ok(rows.into_iter().map(change).collect())
    }

    pub(super) async fn overrides(&self, key: &str) -> Result<Vec<TenantOverrideRecord>, db::Error> {
        // Operators see the overrides of all tenants.
        let mut tx = self.db.all_tenants().begin_read().await?;
        let rows: Vec<(TenantId, String, Timestamp)> = tx
            .query(
                "select tenant_id, definition, updated_at from omni_flag_overrides where key = $1 order by tenant_id",
            )
            .bind(key)
            .fetch_all()
            .await?;
        tx.rollback().await?;
        let record = |(tenant, text, updated_at): (TenantId, String, Timestamp)| {
            Some(TenantOverrideRecord { tenant, updated_at, value: read("override", key, &text)? })
        };
        Ok(rows.into_iter().filter_map(record).collect())
    }

    pub(super) async fn segments(&self) -> Result<Vec<Segment>, db::Error> {
        let rows: Vec<(String, String)> =
            self.db.query("select name, definition from omni_flag_segments order by name").fetch_all().await?;
        Ok(rows.into_iter().filter_map(|(name, text)| read("segment", &name, &text)).collect())
    }
}

/// Row of a flag or segment to write; all rows of a change are written in one statement.
#[derive(Serialize)]
struct SavedRow<'a> {
    name: &'a str,
    definition: String,
    action: &'a str,
}

const SAVE_FLAGS: Sql = Sql {
    postgres: "insert into omni_flags (key, definition, revision, created_at, updated_at)
        select name, definition, $2, $3, $3 from json_to_recordset($1::json) as saved (name text, definition text)
        on conflict (key) do update set definition = excluded.definition, revision = $2, updated_at = $3",
    sqlite: "insert into omni_flags (key, definition, revision, created_at, updated_at)
        select value ->> 'name', value ->> 'definition', $2, $3, $3 from json_each($1) where true
        on conflict (key) do update set definition = excluded.definition, revision = $2, updated_at = $3",
};

const SAVE_HISTORY: Sql = Sql {
    postgres: "insert into omni_flag_history (revision, key, action, definition, actor, at)
        select $2, name, action, definition, $3, $4
        from json_to_recordset($1::json) as saved (name text, action text, definition text)",
    sqlite: "insert into omni_flag_history (revision, key, action, definition, actor, at)
        select $2, value ->> 'name', value ->> 'action', value ->> 'definition', $3, $4 from json_each($1)",
};

const SAVE_SEGMENTS: Sql = Sql {
    postgres: "insert into omni_flag_segments (name, definition, revision, updated_at)
        select name, definition, $2, $3 from json_to_recordset($1::json) as saved (name text, definition text)
        on conflict (name) do update set definition = excluded.definition, revision = $2, updated_at = $3",
    sqlite: "insert into omni_flag_segments (name, definition, revision, updated_at)
        select value ->> 'name', value ->> 'definition', $2, $3 from json_each($1) where true
        on conflict (name) do update set definition = excluded.definition, revision = $2, updated_at = $3",
};

/// Writes the flags and segments of all steps and the flags' history, in at most three statements.
async fn save(
    tx: &mut Tx,
    steps: &[ChangeStep],
    revision: i64,
    now: Timestamp,
    caller: &Identity,
) -> Result<(), FlagError> {
    let (mut flags, mut segments) = (Vec::new(), Vec::new());
    for step in steps {
        let (to, definition) = match step {
            ChangeStep::Save { flag, .. } => (&mut flags, to_json(flag)?),
            ChangeStep::SaveSegment(segment) => (&mut segments, to_json(segment)?),
            _ => continue,
        };
        to.push(SavedRow { name: step.subject(), definition, action: step.action() });
    }
    if !flags.is_empty() {
        let flags = to_json(&flags)?;
        tx.query(SAVE_FLAGS).bind(flags.as_str()).bind(revision).bind(now).execute().await?;
        let actor = caller.impersonator.unwrap_or(caller.user);
        tx.query(SAVE_HISTORY).bind(flags).bind(revision).bind(actor).bind(now).execute().await?;
    }
    if !segments.is_empty() {
        tx.query(SAVE_SEGMENTS).bind(to_json(&segments)?).bind(revision).bind(now).execute().await?;
    }
    Ok(())
}

/// Writes the rows of a step other than a flag or segment to save, with its history.
async fn write(
    tx: &mut Tx,
    step: &ChangeStep,
    revision: i64,
    now: Timestamp,
    caller: &Identity,
) -> Result<(), FlagError> {
    let (mut key, mut tenant) = (None, None);
    match step {
        ChangeStep::Save { .. } | ChangeStep::SaveSegment(_) => return Ok(()),
        ChangeStep::Remove(removed) => {
            tx.query("delete from omni_flags where key = $1").bind(removed.as_str()).execute().await?;
            key = Some(removed.as_str());
        }
        ChangeStep::Override { key: of, tenant: whose, given: Some(given) } => {
            tx.query(
                "insert into omni_flag_overrides (key, tenant_id, definition, updated_at) values ($1, $2, $3, $4)
                 on conflict (key, tenant_id) do update set definition = $3, updated_at = $4",
            )
            .bind(of.as_str())
            .bind(*whose)
            .bind(to_json(given)?)
            .bind(now)
            .execute()
            .await?;
            (key, tenant) = (Some(of.as_str()), Some(*whose));
        }
        ChangeStep::Override { key: of, tenant: whose, given: None } => {
            tx.query("delete from omni_flag_overrides where key = $1 and tenant_id = $2")
                .bind(of.as_str())
                .bind(*whose)
                .execute()
                .await?;
            (key, tenant) = (Some(of.as_str()), Some(*whose));
        }
        ChangeStep::RemoveSegment(name) => {
            tx.query("delete from omni_flag_segments where name = $1").bind(name.as_str()).execute().await?;
        }
    }
    let Some(key) = key else { return Ok(()) };
    tx.query(
        "insert into omni_flag_history (revision, key, action, for_tenant, actor, at) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(revision)
    .bind(key)
    .bind(step.action())
    .bind(tenant)
    .bind(caller.impersonator.unwrap_or(caller.user))
    .bind(now)
    .execute()
    .await?;
    Ok(())
}

async fn load_current(tx: &mut Tx) -> Result<CurrentFlags, db::Error> {
    let flags: Vec<(String, String)> =
        tx.query("select key, definition from omni_flags order by key").fetch_all().await?;
    let segments: Vec<(String, String)> =
        tx.query("select name, definition from omni_flag_segments order by name").fetch_all().await?;
    let overrides: Vec<(String, TenantId, String)> = tx
        .query("select key, tenant_id, definition from omni_flag_overrides order by key, tenant_id")
        .fetch_all()
        .await?;
    let flag = |(key, text): (String, String)| read("flag", &key, &text).unwrap_or_else(|| unreadable(&key));
    Ok(CurrentFlags {
        flags: flags.into_iter().map(flag).collect(),
        segments: segments.into_iter().filter_map(|(name, text)| read("segment", &name, &text)).collect(),
        overrides: overrides
            .into_iter()
            .filter_map(|(key, tenant, text)| read("override", &key, &text).map(|given| (key, tenant, given)))
            .collect(),
        revisions: BTreeMap::new(),
    })
}
