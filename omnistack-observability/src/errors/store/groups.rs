//! Groups: lists, details, and changes by operators.

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Timestamp,
    db,
    identity::{Identity, TenantId, UserId},
};
use serde_json::json;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{ErrorStore, timestamp};
use crate::errors::{
    model::{ErrorGroup, ErrorGroupId, ErrorGroupStatus, ErrorOriginKind, ErrorSample, ErrorSeverity, Signal, hour_of},
    status::{NEW_FOR_MICROS, earlier_hours, is_escalating},
};

/// Largest number of escalating groups that are reviewed in one run.
const MAX_REVIEWED: i64 = 1_000;

/// The groups to list: those that match all fields that are set.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::errors) struct GroupFilter {
    pub(in crate::errors) status: Option<ErrorGroupStatus>,
    pub(in crate::errors) origin: Option<ErrorOriginKind>,
    pub(in crate::errors) severity: Option<ErrorSeverity>,
    /// The earliest time of the last error, in microseconds since 1970.
    pub(in crate::errors) since: i64,
}

/// The position of a group in the list.
#[derive(Clone, Copy, Debug)]
pub(in crate::errors) struct GroupPosition {
    /// The time of the last error, in microseconds since 1970.
    pub(in crate::errors) last_seen: i64,
    pub(in crate::errors) id: ErrorGroupId,
}

impl GroupPosition {
    /// A position before all groups.
    pub(in crate::errors) fn start() -> Self {
        Self { last_seen: i64::MAX, id: ErrorGroupId::from_uuid(Uuid::max()) }
    }
}

/// A change of a group by an operator.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::errors) struct GroupChange {
    pub(in crate::errors) status: Option<ErrorGroupStatus>,
    /// The new assignee; `Some(None)` removes it.
    pub(in crate::errors) assignee: Option<Option<UserId>>,
}

#[derive(omnistack_core::db::FromRow)]
struct GroupRow {
    id: ErrorGroupId,
    fingerprint: String,
    origin: String,
    code: String,
    title: String,
    severity: String,
    status: String,
    signal: Option<String>,
    assignee: Option<UserId>,
    first_seen: i64,
    last_seen: i64,
    first_release: String,
    last_release: String,
    errors: i64,
    users: i64,
    tenants: i64,
    resolved_at: Option<i64>,
}

impl GroupRow {
    fn read(self) -> ErrorGroup {
        ErrorGroup {
            id: self.id,
            fingerprint: self.fingerprint,
            origin: ErrorOriginKind::from_stored(&self.origin).unwrap_or(ErrorOriginKind::Request),
            code: self.code,
            title: self.title,
            severity: ErrorSeverity::from_stored(&self.severity).unwrap_or(ErrorSeverity::Error),
            status: ErrorGroupStatus::from_stored(&self.status).unwrap_or(ErrorGroupStatus::Open),
            signal: self.signal.as_deref().and_then(Signal::from_stored),
            assignee: self.assignee,
            first_seen: timestamp(self.first_seen),
            last_seen: timestamp(self.last_seen),
            first_release: self.first_release,
            last_release: self.last_release,
            errors: self.errors,
            affected_users: self.users,
            affected_tenants: self.tenants,
            resolved_at: self.resolved_at.map(timestamp),
        }
    }
}

#[derive(omnistack_core::db::FromRow)]
struct SampleRow {
    at: i64,
    operation: String,
    tenant: Option<TenantId>,
    release: String,
    message: String,
    request_id: Option<String>,
    trace_id: Option<String>,
}

impl ErrorStore {
    /// Returns groups in descending order of their last errors, starting after a position.
    pub(in crate::errors) async fn groups(
        &self,
        filter: &GroupFilter,
        after: GroupPosition,
        limit: u32,
    ) -> Result<Vec<ErrorGroup>, db::Error> {
        // No index serves a condition on the status that may be absent.
        let status = if filter.status.is_some() { "status = $4" } else { "(status = $4 or $4 is null)" };
        let sql = format!(
            "select id, fingerprint, origin, code, title, severity, status, signal, assignee, first_seen, last_seen,
             first_release, last_release, errors, users, tenants, resolved_at from omni_error_groups
             where last_seen <= $1 and (last_seen, id) < ($1, $2) and last_seen >= $3
             and {status} and (origin = $5 or $5 is null) and (severity = $6 or $6 is null)
             order by last_seen desc, id desc limit $7"
        );
        let rows: Vec<GroupRow> = self
            .db
            .query(AssertSqlSafe(sql))
            .bind(after.last_seen)
            .bind(after.id)
            .bind(filter.since)
            .bind(filter.status.map(|status| status.as_str().to_owned()))
            .bind(filter.origin.map(|origin| origin.as_str().to_owned()))
            .bind(filter.severity.map(|severity| severity.as_str().to_owned()))
            .bind(i64::from(limit))
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(GroupRow::read).collect())
    }

    /// Returns a group. Returns `None` if there is none with this id.
    pub(in crate::errors) async fn group(&self, id: ErrorGroupId) -> Result<Option<ErrorGroup>, db::Error> {
        let row: Option<GroupRow> = self
            .db
            .query(
                "select id, fingerprint, origin, code, title, severity, status, signal, assignee, first_seen, last_seen,
                 first_release, last_release, errors, users, tenants, resolved_at from omni_error_groups where id = $1",
            )
            .bind(id)
            .fetch_optional()
            .await?;
        Ok(row.map(GroupRow::read))
    }

    /// Returns the latest errors of a group, the newest first.
    pub(in crate::errors) async fn samples(&self, group: ErrorGroupId) -> Result<Vec<ErrorSample>, db::Error> {
        let rows: Vec<SampleRow> = self
            .db
            .query(
                "select at, operation, tenant, release, message, request_id, trace_id from omni_error_samples
                 where group_id = $1 order by at desc, id desc",
            )
            .bind(group)
            .fetch_all()
            .await?;
        let sample = |row: SampleRow| ErrorSample {
            at: timestamp(row.at),
            operation: row.operation,
            tenant: row.tenant,
            release: row.release,
            message: row.message,
            request_id: row.request_id,
            trace_id: row.trace_id,
        };
        Ok(rows.into_iter().map(sample).collect())
    }

    /// Changes a group and records an audit entry for each change. Returns the changed group, or `None` if there is
    /// none with this id.
    pub(in crate::errors) async fn change(
        &self,
        id: ErrorGroupId,
        change: GroupChange,
        log: &AuditLog,
        by: &Identity,
    ) -> Result<Option<ErrorGroup>, db::Error> {
        let mut tx = self.db.begin().await?;
        // The update locks the row, so that the entries name what was changed.
        let before: Option<(String, Option<UserId>)> = tx
            .query("update omni_error_groups set status = status where id = $1 returning status, assignee")
            .bind(id)
            .fetch_optional()
            .await?;
        let Some((status, assignee)) = before else { return Ok(None) };
        let mut entries = Vec::new();
        if let Some(to) = change.status.filter(|to| to.as_str() != status) {
            let resolved_at = (to == ErrorGroupStatus::Resolved).then(|| self.clock.now().as_micros());
            tx.query("update omni_error_groups set status = $2, resolved_at = $3 where id = $1")
                .bind(id)
                .bind(to.as_str())
                .bind(resolved_at)
                .execute()
                .await?;
            let action = match to {
                ErrorGroupStatus::Resolved => "error_group.resolved",
                ErrorGroupStatus::Ignored => "error_group.ignored",
                _ => "error_group.reopened",
            };
            entries.push((action, json!({ "from": status, "to": to })));
        }
        if let Some(to) = change.assignee.filter(|to| *to != assignee) {
            tx.query("update omni_error_groups set assignee = $2 where id = $1").bind(id).bind(to).execute().await?;
            entries.push(("error_group.assigned", json!({ "from": assignee, "to": to })));
        }
        for (action, details) in entries {
            let entry = AuditEntry::new(action).actor(by).for_app().resource("error_group", id).details(details);
            log.record_in(&mut tx, entry).await?;
        }
        tx.commit().await?;
        self.group(id).await
    }

    /// Makes groups open that are no longer new or escalating. Returns how many.
    pub(in crate::errors) async fn review(&self, now: Timestamp) -> Result<u64, db::Error> {
        let current_hour = hour_of(now.as_micros());
        let mut tx = self.db.begin().await?;
        let mut opened = tx
            .query("update omni_error_groups set status = 'open' where status = 'new' and first_seen < $1")
            .bind(now.as_micros() - NEW_FOR_MICROS)
            .execute()
            .await?;
        let escalating: Vec<(ErrorGroupId, i64)> = tx
            .query(
                "select id, first_seen from omni_error_groups where status = 'escalating'
                 order by last_seen, id limit $1",
            )
            .bind(MAX_REVIEWED)
            .fetch_all()
            .await?;
        let ids: Vec<_> = escalating.iter().map(|(id, _)| *id).collect();
        let counts = super::write::counts_by_hour(&mut tx, &ids, current_hour).await?;
        for (id, first_seen) in escalating {
            let counts = counts.get(&id).map_or(&[][..], |counts| counts.as_slice());
            let current = counts.iter().find(|(hour, _)| *hour == current_hour).map_or(0, |(_, errors)| *errors);
            if is_escalating(current, &earlier_hours(counts, first_seen, current_hour)) {
                continue;
            }
            opened += tx
                .query("update omni_error_groups set status = 'open' where id = $1 and status = 'escalating'")
                .bind(id)
                .execute()
                .await?;
        }
        tx.commit().await?;
        Ok(opened)
    }
}
