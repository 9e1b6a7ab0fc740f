//! Storing what was recorded, in one transaction.

use std::collections::{BTreeMap, HashMap};

use omnistack_core::{
    clock::Timestamp,
    db::{self, Sql, Tx},
    id::Id,
};
use serde_json::json;

use super::{ErrorStore, hex, json as to_json, not_enqueued, not_published, stored_tenant};
use crate::errors::{
    alert::{
        AlertReason, ErrorGroupAlert, ErrorGroupEscalating, ErrorGroupNew, ErrorGroupRegressed, SendErrorAlertMail,
        SendErrorAlertWebhook,
    },
    batch::{Batch, PendingGroup},
    model::{ErrorGroupId, ErrorGroupStatus, ErrorSeverity, HOUR_MICROS, hour_of},
    status::{BASELINE_HOURS, earlier_hours, is_escalating, may_alert, may_escalate, status_after_errors},
};

/// Largest number of users and of tenants that are counted for a group.
const MAX_AFFECTED_PER_GROUP: i64 = 10_000;

/// Number of samples that are kept for each group.
const SAMPLES_PER_GROUP: i64 = 10;

/// Replicas store one after another, so that a transition of a group happens once. SQLite has one writer.
const LOCK: Sql = Sql { postgres: "select pg_advisory_xact_lock(5021943787315011)::text", sqlite: "select ''" };

/// The groups whose ids are in a JSON array, in hexadecimal form.
const KNOWN_GROUPS: Sql = Sql {
    postgres: "select id, status, first_seen, resolved_at, alerted_hour, users, tenants from omni_error_groups
where id in (select cast(value as uuid) from json_array_elements_text($1::json) as ids(value))",
    sqlite: "select id, status, first_seen, resolved_at, alerted_hour, users, tenants from omni_error_groups
where id in (select unhex(value) from json_each($1))",
};

const ADD_TO_GROUPS: Sql = Sql {
    postgres: "insert into omni_error_groups as old (id, fingerprint, origin, code, title, severity, status, signal,
    first_seen, last_seen, first_release, last_release, errors, users, tenants)
select cast(id as uuid), fingerprint, origin, code, title, severity, 'new', signal, first_seen, last_seen,
    release, release, errors, 0, 0
from json_to_recordset($1::json) as new(id text, fingerprint text, origin text, code text, title text, severity text,
    signal text, first_seen bigint, last_seen bigint, release text, errors bigint)
on conflict (id) do update set errors = old.errors + excluded.errors,
    last_release = case when excluded.last_seen >= old.last_seen then excluded.last_release else old.last_release end,
    last_seen = case when excluded.last_seen > old.last_seen then excluded.last_seen else old.last_seen end",
    sqlite: "insert into omni_error_groups as old (id, fingerprint, origin, code, title, severity, status, signal,
    first_seen, last_seen, first_release, last_release, errors, users, tenants)
select unhex(value ->> 'id'), value ->> 'fingerprint', value ->> 'origin', value ->> 'code', value ->> 'title',
    value ->> 'severity', 'new', value ->> 'signal', value ->> 'first_seen', value ->> 'last_seen', value ->> 'release',
    value ->> 'release', value ->> 'errors', 0, 0
from json_each($1) where true
on conflict (id) do update set errors = old.errors + excluded.errors,
    last_release = case when excluded.last_seen >= old.last_seen then excluded.last_release else old.last_release end,
    last_seen = case when excluded.last_seen > old.last_seen then excluded.last_seen else old.last_seen end",
};

const ADD_TO_COUNTS: Sql = Sql {
    postgres: "insert into omni_error_counts as old (group_id, hour, origin, operation, tenant, release, errors)
select cast(group_id as uuid), hour, origin, operation, cast(tenant as uuid), release, errors
from json_to_recordset($1::json) as new(group_id text, hour bigint, origin text, operation text, tenant text,
    release text, errors bigint)
on conflict (group_id, hour, origin, operation, tenant, release) do update set errors = old.errors + excluded.errors",
    sqlite: "insert into omni_error_counts as old (group_id, hour, origin, operation, tenant, release, errors)
select unhex(value ->> 'group_id'), value ->> 'hour', value ->> 'origin', value ->> 'operation',
    unhex(value ->> 'tenant'), value ->> 'release', value ->> 'errors'
from json_each($1) where true
on conflict (group_id, hour, origin, operation, tenant, release) do update set errors = old.errors + excluded.errors",
};

const ADD_AFFECTED: Sql = Sql {
    postgres: "insert into omni_error_users (group_id, kind, subject, first_seen)
select cast(group_id as uuid), kind, cast(subject as uuid), $2
from json_to_recordset($1::json) as new(group_id text, kind text, subject text)
on conflict (group_id, kind, subject) do nothing returning group_id, kind",
    sqlite: "insert into omni_error_users (group_id, kind, subject, first_seen)
select unhex(value ->> 'group_id'), value ->> 'kind', unhex(value ->> 'subject'), $2
from json_each($1) where true
on conflict (group_id, kind, subject) do nothing returning group_id, kind",
};

const ADD_SAMPLES: Sql = Sql {
    postgres: "insert into omni_error_samples (id, group_id, at, operation, tenant, release, message, request_id,
    trace_id)
select cast(id as uuid), cast(group_id as uuid), at, operation, cast(tenant as uuid), release, message, request_id,
    trace_id
from json_to_recordset($1::json) as new(id text, group_id text, at bigint, operation text, tenant text, release text,
    message text, request_id text, trace_id text)",
    sqlite: "insert into omni_error_samples (id, group_id, at, operation, tenant, release, message, request_id,
    trace_id)
select unhex(value ->> 'id'), unhex(value ->> 'group_id'), value ->> 'at', value ->> 'operation',
    unhex(value ->> 'tenant'), value ->> 'release', value ->> 'message', value ->> 'request_id', value ->> 'trace_id'
from json_each($1) where true",
};

const COUNTS_BY_HOUR: Sql = Sql {
    postgres: "select group_id, hour, cast(sum(errors) as bigint) from omni_error_counts
where group_id in (select cast(value as uuid) from json_array_elements_text($1::json) as ids(value)) and hour >= $2
group by group_id, hour",
    sqlite: "select group_id, hour, cast(sum(errors) as integer) from omni_error_counts
where group_id in (select unhex(value) from json_each($1)) and hour >= $2
group by group_id, hour",
};

/// A group before the new errors.
#[derive(omnistack_core::db::FromRow)]
struct KnownGroup {
    id: ErrorGroupId,
    status: String,
    first_seen: i64,
    resolved_at: Option<i64>,
    alerted_hour: Option<i64>,
    users: i64,
    tenants: i64,
}

impl ErrorStore {
    /// Stores what was recorded. With `checks`, groups may become escalating.
    pub(in crate::errors) async fn write(&self, batch: &Batch, checks: bool) -> Result<(), db::Error> {
        let now = self.clock.now();
        let ids: Vec<_> = batch.groups.keys().map(|id| hex(id.uuid())).collect();
        let mut tx = self.db.begin().await?;
        let _: (String,) = tx.query(LOCK).fetch_one().await?;
        let known: Vec<KnownGroup> = tx.query(KNOWN_GROUPS).bind(to_json(&ids)).fetch_all().await?;
        let known: HashMap<_, _> = known.into_iter().map(|group| (group.id, group)).collect();
        self.add_counts(&mut tx, batch).await?;
        add_affected(&mut tx, batch, &known, now).await?;
        self.add_samples(&mut tx, batch).await?;
        let transitions = self.transitions(&mut tx, batch, &known, checks.then_some(now)).await?;
        for (id, status) in transitions {
            let alerted_hour = known.get(&id).and_then(|group| group.alerted_hour);
            if let Some(group) = batch.groups.get(&id) {
                self.change_status(&mut tx, id, group, status, alerted_hour).await?;
            }
        }
        tx.commit().await
    }

    async fn add_counts(&self, tx: &mut Tx, batch: &Batch) -> Result<(), db::Error> {
        let groups = batch.groups.iter().map(|(id, group)| {
            json!({
                "id": hex(id.uuid()), "fingerprint": group.fingerprint, "origin": group.origin, "code": group.code,
                "title": group.title, "severity": group.severity, "signal": group.signal,
                "first_seen": group.first_seen, "last_seen": group.last_seen,
                "release": self.release, "errors": group.errors,
            })
        });
        tx.query(ADD_TO_GROUPS).bind(to_json(&groups.collect::<Vec<_>>())).execute().await?;
        let counters = batch.counters.iter().map(|(key, errors)| {
            json!({
                "group_id": hex(key.group.uuid()), "hour": key.hour, "origin": key.origin, "operation": key.operation,
                "tenant": hex(stored_tenant(key.tenant).uuid()), "release": self.release, "errors": errors,
            })
        });
        tx.query(ADD_TO_COUNTS).bind(to_json(&counters.collect::<Vec<_>>())).execute().await.map(drop)
    }

    async fn add_samples(&self, tx: &mut Tx, batch: &Batch) -> Result<(), db::Error> {
        if batch.samples.is_empty() {
            return Ok(());
        }
        let samples = batch.samples.iter().map(|sample| {
            let id: Id<()> = Id::new(Timestamp::from_micros(sample.at));
            json!({
                "id": hex(id.uuid()), "group_id": hex(sample.group.uuid()), "at": sample.at,
                "operation": sample.operation, "tenant": sample.tenant.map(|tenant| hex(tenant.uuid())),
                "release": self.release, "message": sample.message, "request_id": sample.request_id,
                "trace_id": sample.trace_id,
            })
        });
        tx.query(ADD_SAMPLES).bind(to_json(&samples.collect::<Vec<_>>())).execute().await?;
        let mut groups: Vec<_> = batch.samples.iter().map(|sample| sample.group).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            tx.query(
                "delete from omni_error_samples where group_id = $1 and id not in (
                 select id from omni_error_samples where group_id = $1 order by at desc, id desc limit $2)",
            )
            .bind(group)
            .bind(SAMPLES_PER_GROUP)
            .execute()
            .await?;
        }
        Ok(())
    }

    /// Returns the groups whose status changes.
    async fn transitions(
        &self,
        tx: &mut Tx,
        batch: &Batch,
        known: &HashMap<ErrorGroupId, KnownGroup>,
        check_at: Option<Timestamp>,
    ) -> Result<BTreeMap<ErrorGroupId, ErrorGroupStatus>, db::Error> {
        let (mut changed, mut candidates) = (BTreeMap::new(), Vec::new());
        for (id, group) in &batch.groups {
            let before = known.get(id);
            let status =
                before.map(|before| ErrorGroupStatus::from_stored(&before.status).unwrap_or(ErrorGroupStatus::Open));
            let resolved_at = before.and_then(|before| before.resolved_at);
            match status_after_errors(status, resolved_at, group.last_seen) {
                Some(status) => _ = changed.insert(*id, status),
                None if status.is_some_and(may_escalate) => candidates.push(*id),
                None => {}
            }
        }
        let Some(now) = check_at.filter(|_| !candidates.is_empty()) else { return Ok(changed) };
        let current_hour = hour_of(now.as_micros());
        let counts = counts_by_hour(tx, &candidates, current_hour).await?;
        for id in candidates {
            let counts = counts.get(&id).map_or(&[][..], |counts| counts.as_slice());
            let first_seen = known.get(&id).map_or(current_hour, |group| group.first_seen);
            let current = counts.iter().find(|(hour, _)| *hour == current_hour).map_or(0, |(_, errors)| *errors);
            if is_escalating(current, &earlier_hours(counts, first_seen, current_hour)) {
                changed.insert(id, ErrorGroupStatus::Escalating);
            }
        }
        Ok(changed)
    }

    /// Stores the new status of a group, publishes its event, and enqueues the mail and the webhook.
    async fn change_status(
        &self,
        tx: &mut Tx,
        id: ErrorGroupId,
        group: &PendingGroup,
        status: ErrorGroupStatus,
        alerted_hour: Option<i64>,
    ) -> Result<(), db::Error> {
        tx.query("update omni_error_groups set status = $2, resolved_at = null where id = $1")
            .bind(id)
            .bind(status.as_str())
            .execute()
            .await?;
        let reason = match status {
            ErrorGroupStatus::New => AlertReason::New,
            ErrorGroupStatus::Regressed => AlertReason::Regressed,
            ErrorGroupStatus::Escalating => AlertReason::Escalating,
            ErrorGroupStatus::Open | ErrorGroupStatus::Resolved | ErrorGroupStatus::Ignored => return Ok(()),
        };
        if group.severity != ErrorSeverity::Error {
            return Ok(());
        }
        let alert = ErrorGroupAlert {
            group: id,
            reason,
            origin: group.origin,
            code: group.code.clone(),
            title: group.title.clone(),
            release: self.release.clone(),
            last_seen: Timestamp::from_micros(group.last_seen),
        };
        self.publish(tx, &alert).await?;
        let current_hour = hour_of(self.clock.now().as_micros());
        let (alerted,): (i64,) = tx
            .query("select count(*) from omni_error_groups where alerted_hour = $1")
            .bind(current_hour)
            .fetch_one()
            .await?;
        if !may_alert(alerted_hour, current_hour, alerted) {
            return Ok(());
        }
        tx.query("update omni_error_groups set alerted_hour = $2 where id = $1")
            .bind(id)
            .bind(current_hour)
            .execute()
            .await?;
        if self.sends_mail {
            let mail = SendErrorAlertMail { alert: alert.clone() };
            self.jobs.enqueue_in(tx, mail).await.map_err(not_enqueued)?;
        }
        if self.posts_webhook {
            self.jobs.enqueue_in(tx, SendErrorAlertWebhook { alert }).await.map_err(not_enqueued)?;
        }
        Ok(())
    }

    async fn publish(&self, tx: &mut Tx, alert: &ErrorGroupAlert) -> Result<(), db::Error> {
        let alert = alert.clone();
        let published = match alert.reason {
            AlertReason::New => self.events.publish_in(tx, &ErrorGroupNew(alert)).await,
            AlertReason::Regressed => self.events.publish_in(tx, &ErrorGroupRegressed(alert)).await,
            AlertReason::Escalating => self.events.publish_in(tx, &ErrorGroupEscalating(alert)).await,
        };
        published.map(drop).map_err(not_published)
    }
}

/// Stores the affected users and tenants, and counts those that are new.
async fn add_affected(
    tx: &mut Tx,
    batch: &Batch,
    known: &HashMap<ErrorGroupId, KnownGroup>,
    now: Timestamp,
) -> Result<(), db::Error> {
    let has_room = |id: &ErrorGroupId, kind: &str| {
        known.get(id).is_none_or(|group| {
            let counted = if kind == "user" { group.users } else { group.tenants };
            counted < MAX_AFFECTED_PER_GROUP
        })
    };
    let affected = batch.affected.iter().filter(|(group, kind, _)| has_room(group, kind.as_str()));
    let rows: Vec<_> = affected
        .map(|(group, kind, subject)| {
            json!({ "group_id": hex(group.uuid()), "kind": kind.as_str(), "subject": hex(*subject) })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let added: Vec<(ErrorGroupId, String)> =
        tx.query(ADD_AFFECTED).bind(to_json(&rows)).bind(now.as_micros()).fetch_all().await?;
    let mut counts: BTreeMap<ErrorGroupId, (i64, i64)> = BTreeMap::new();
    for (group, kind) in added {
        let (users, tenants) = counts.entry(group).or_default();
        *(if kind == "user" { users } else { tenants }) += 1;
    }
    for (group, (users, tenants)) in counts {
        tx.query("update omni_error_groups set users = users + $2, tenants = tenants + $3 where id = $1")
            .bind(group)
            .bind(users)
            .bind(tenants)
            .execute()
            .await?;
    }
    Ok(())
}

/// Returns the counts of groups by hour, of the current hour and of those with which it is compared.
pub(super) async fn counts_by_hour(
    tx: &mut Tx,
    groups: &[ErrorGroupId],
    current_hour: i64,
) -> Result<HashMap<ErrorGroupId, Vec<(i64, i64)>>, db::Error> {
    let ids: Vec<_> = groups.iter().map(|id| hex(id.uuid())).collect();
    let since = current_hour - BASELINE_HOURS * HOUR_MICROS;
    let rows: Vec<(ErrorGroupId, i64, i64)> =
        tx.query(COUNTS_BY_HOUR).bind(to_json(&ids)).bind(since).fetch_all().await?;
    let mut counts: HashMap<_, Vec<_>> = HashMap::new();
    for (group, hour, errors) in rows {
        counts.entry(group).or_default().push((hour, errors));
    }
    Ok(counts)
}
