//! The SQL of claims and stored responses.
//!
//! The row of a key is in one of three states: claimed by an owner until its lease ends, with a stored response, or
//! deleted. Every change names the owner that it expects, so of two attempts only one can change the row.

use std::{sync::LazyLock, time::Duration};

use axum::body::Bytes;
use http::StatusCode;
use sqlx::types::Json;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::{
    IdempotencySettings,
    key::Digest,
    process::ProcessName,
    stored_response::{StoredHead, StoredResponse},
};
use crate::{
    clock::{Clock, Timestamp},
    db::{self, Db, Dialect, Sql, Tx},
    id::Id,
};

/// Marker type of attempt ids. An attempt is the owner of a claim.
pub(crate) enum AttemptMarker {}

/// The idempotency keys of an app.
pub(crate) struct IdempotencyKeys {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) settings: IdempotencySettings,
    /// Requests in progress, including those whose client has disconnected.
    pub(crate) running: TaskTracker,
    process: LazyLock<Option<ProcessName>>,
    /// Notified when a request of this process ends; indexed by the first byte of its scope.
    ended: [Notify; 64],
}

/// The end of a claim's lease, and of the key's retention.
#[derive(Clone, Copy)]
pub(crate) struct ClaimLease {
    pub(crate) locked_until: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Result of claiming a key.
pub(crate) enum ClaimOutcome {
    /// The caller must carry out the request, as this owner, within the lease.
    Acquired(Id<AttemptMarker>, ClaimLease),
    /// The request was carried out.
    Completed(StoredResponse),
    /// The key was used for a different request.
    KeyReused,
    /// The request is in progress. Its lease ends at this time.
    InProgress(Timestamp),
}

#[derive(crate::db::FromRow)]
struct KeyRow {
    fingerprint: Vec<u8>,
    owner: Id<AttemptMarker>,
    process: Option<String>,
    locked_until: Timestamp,
    expires_at: Timestamp,
    status: Option<i32>,
    head: Option<Json<StoredHead>>,
    body: Option<Vec<u8>>,
}

const FIND: &str = "select fingerprint, owner, process, locked_until, expires_at, status, head, body \
                    from omni_idempotency_keys where scope = $1";

/// Inserts a claim, unless there is one. On PostgreSQL, `on conflict do nothing` alone would wait while the owner of a
/// claim commits, so the statement looks for a row first.
const CLAIM: Sql = Sql {
    postgres: "insert into omni_idempotency_keys (scope, fingerprint, owner, locked_until, expires_at, process) \
               select $1, $2, $3, $4, $5, $6 where not exists (select 1 from omni_idempotency_keys where scope = $1) \
               on conflict (scope) do nothing",
    sqlite: "insert into omni_idempotency_keys (scope, fingerprint, owner, locked_until, expires_at, process) \
             values ($1, $2, $3, $4, $5, $6) on conflict (scope) do nothing",
};

/// Takes over a claim whose lease has ended or whose process is dead, or a row that has expired. Skips a row that its
/// owner is completing, which is locked.
const TAKE_OVER: Sql = Sql {
    postgres: "update omni_idempotency_keys set fingerprint = $2, owner = $3, locked_until = $4, expires_at = $5, process = $6, \
               status = null, head = null, body = null \
               where scope = (select scope from omni_idempotency_keys where scope = $1 and owner = $7 and (expires_at <= $8 \
               or (status is null and (locked_until <= $8 or $9) and fingerprint = $2)) for update skip locked)",
    sqlite: "update omni_idempotency_keys set fingerprint = $2, owner = $3, locked_until = $4, expires_at = $5, process = $6, \
             status = null, head = null, body = null \
             where scope = $1 and owner = $7 and (expires_at <= $8 \
             or (status is null and (locked_until <= $8 or $9) and fingerprint = $2))",
};

const COMPLETE: &str = "update omni_idempotency_keys set status = $3, head = $4, body = $5 \
                        where scope = $1 and owner = $2 and status is null";

/// Changes nothing, but locks the row and checks its owner until the transaction ends.
const CONFIRM: &str =
    "update omni_idempotency_keys set status = null where scope = $1 and owner = $2 and status is null";

const RELEASE: &str = "delete from omni_idempotency_keys where scope = $1 and owner = $2 and status is null";

const SWEEP: Sql = Sql {
    postgres: "delete from omni_idempotency_keys where scope in (select scope from omni_idempotency_keys where expires_at <= $1 \
               order by expires_at limit $2 for update skip locked)",
    sqlite: "delete from omni_idempotency_keys where scope in (select scope from omni_idempotency_keys where expires_at <= $1 \
             order by expires_at limit $2)",
};

impl IdempotencyKeys {
    pub(crate) fn new(db: Db, clock: Clock, settings: IdempotencySettings) -> Self {
        let ended = std::array::from_fn(|_| Notify::new());
        Self { db, clock, settings, running: TaskTracker::new(), process: LazyLock::new(ProcessName::own), ended }
    }

    /// Returns the notification for the end of this request.
    pub(crate) fn ended(&self, scope: &Digest) -> &Notify {
        &self.ended[usize::from(scope[0]) % self.ended.len()]
    }

    /// Claims a key, unless it is claimed. Most keys are new, so on PostgreSQL the first statement is the insertion. On
    /// SQLite, where an insertion waits for the only writer, it is a lookup.
    pub(crate) async fn claim(
        &self,
        scope: &Digest,
        fingerprint: &Digest,
        lease: Duration,
    ) -> Result<ClaimOutcome, db::Error> {
        let mut reads = self.db.dialect() == Dialect::Sqlite;
        loop {
            let found =
                if reads { self.db.query(FIND).bind(scope.to_vec()).fetch_optional::<KeyRow>().await? } else { None };
            reads = true;
            let now = self.clock.now();
            let owner = Id::new(now);
            let until = ClaimLease { locked_until: now + lease, expires_at: now + self.settings.retention.max(lease) };
            let claim = |sql: Sql| {
                let query = self.db.query(sql).bind(scope.to_vec()).bind(fingerprint.to_vec()).bind(owner);
                let query = query.bind(until.locked_until).bind(until.expires_at);
                query.bind(self.process.as_ref().map(ToString::to_string))
            };
            let Some(row) = found else {
                if claim(CLAIM).execute().await? == 1 {
                    return Ok(ClaimOutcome::Acquired(owner, until));
                }
                continue;
            };
            let is_dead = row.process.as_deref().is_some_and(|process| self.is_dead(process));
            if row.expires_at > now {
                if row.fingerprint != fingerprint {
                    return Ok(ClaimOutcome::KeyReused);
                }
                if let Some(status) = row.status {
                    return Ok(ClaimOutcome::Completed(answer(status, row.head, row.body)));
                }
                if row.locked_until > now && !is_dead {
                    return Ok(ClaimOutcome::InProgress(row.locked_until));
                }
            }
            let taken = claim(TAKE_OVER).bind(row.owner).bind(now).bind(is_dead).execute().await?;
            return Ok(if taken == 1 {
                ClaimOutcome::Acquired(owner, until)
            } else {
                ClaimOutcome::InProgress(row.locked_until)
            });
        }
    }

    /// Returns whether a process is known to be dead. Returns `false` if it may be alive or can't be checked.
    fn is_dead(&self, process: &str) -> bool {
        self.process.as_ref().is_some_and(|own| own.is_dead(process))
    }

    /// Stores the response. Returns `false` if another attempt owns the request.
    pub(crate) async fn complete(
        &self,
        scope: &Digest,
        owner: Id<AttemptMarker>,
        answer: &StoredResponse,
    ) -> Result<bool, db::Error> {
        complete(self.db.query(COMPLETE), scope, owner, answer).execute().await.map(|changed| changed == 1)
    }

    /// Releases the claim, unless the request is completed or another attempt owns it.
    pub(crate) async fn release(&self, scope: &Digest, owner: Id<AttemptMarker>) -> Result<(), db::Error> {
        self.db.query(RELEASE).bind(scope.to_vec()).bind(owner).execute().await.map(drop)
    }

    /// Deletes at most `most` expired rows. Returns how many.
    pub(crate) async fn sweep(&self, most: u32) -> Result<u64, db::Error> {
        self.db.query(SWEEP).bind(self.clock.now()).bind(i64::from(most)).execute().await
    }
}

/// Like [`Keys::complete`], but in a transaction, which also locks the row.
pub(crate) async fn complete_in(
    tx: &mut Tx,
    scope: &Digest,
    owner: Id<AttemptMarker>,
    answer: &StoredResponse,
) -> Result<bool, db::Error> {
    complete(tx.query(COMPLETE), scope, owner, answer).execute().await.map(|changed| changed == 1)
}

/// Returns whether this attempt still owns the request. It remains the owner until the transaction ends.
pub(crate) async fn confirm_in(tx: &mut Tx, scope: &Digest, owner: Id<AttemptMarker>) -> Result<bool, db::Error> {
    tx.query(CONFIRM).bind(scope.to_vec()).bind(owner).execute().await.map(|changed| changed == 1)
}

/// The insertion into a tenant database, which has no claims: the first attempt to insert the row has carried out the
/// request, and the transactions of other attempts are rolled back.
const INSERT_RESPONSE: &str = "insert into omni_idempotency_keys (scope, fingerprint, owner, locked_until, expires_at, status, head, body) \
                     values ($1, $1, $2, $6, $7, $3, $4, $5) \
                     on conflict (scope) do update set owner = $2, locked_until = $6, expires_at = $7, status = $3, head = $4, \
                     body = $5 where omni_idempotency_keys.expires_at <= $8";

/// Like [`complete_in`], but in a transaction of a tenant database.
pub(crate) async fn complete_in_tenant_database(
    tx: &mut Tx,
    (scope, owner, until): (&Digest, Id<AttemptMarker>, ClaimLease),
    answer: &StoredResponse,
    now: Timestamp,
) -> Result<bool, db::Error> {
    let query = complete(tx.query(INSERT_RESPONSE), scope, owner, answer);
    query.bind(until.locked_until).bind(until.expires_at).bind(now).execute().await.map(|changed| changed == 1)
}

/// Returns the response that is stored in a tenant database, if any.
pub(crate) async fn find_in_tenant_database(
    tx: &mut Tx,
    scope: &Digest,
    now: Timestamp,
) -> Result<Option<StoredResponse>, db::Error> {
    let row = tx.query(FIND).bind(scope.to_vec()).fetch_optional::<KeyRow>().await?;
    let row = row.filter(|row| row.expires_at > now);
    Ok(row.and_then(|row| Some(answer(row.status?, row.head, row.body))))
}

fn complete<'a>(
    query: db::SqlQuery<'a>,
    scope: &Digest,
    owner: Id<AttemptMarker>,
    answer: &StoredResponse,
) -> db::SqlQuery<'a> {
    let body = answer.body.as_ref().map(|body| body.to_vec());
    let query = query.bind(scope.to_vec()).bind(owner).bind(i32::from(answer.status.as_u16()));
    query.bind(Json(answer.head.clone())).bind(body)
}

fn answer(status: i32, head: Option<Json<StoredHead>>, body: Option<Vec<u8>>) -> StoredResponse {
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    StoredResponse {
        status: status.unwrap_or(StatusCode::OK),
        head: head.map(|head| head.0).unwrap_or_default(),
        body: body.map(Bytes::from),
    }
}
