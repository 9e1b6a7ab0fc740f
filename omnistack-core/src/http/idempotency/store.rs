//! The SQL: claims, and answers.
//!
//! A key's row is in one of three states: claimed by an owner until its lease ends, answered, or gone. Every change of one
//! names the owner it expects, so of two that think they own a request only one can change anything.

use std::{sync::LazyLock, time::Duration};

use axum::body::Bytes;
use http::StatusCode;
use sqlx::types::Json;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::{
    IdempotencySettings,
    answer::{Answer, Head},
    key::Digest,
    process::Process,
};
use crate::{
    clock::{Clock, Timestamp},
    db::{self, Db, Sql, Tx},
    id::Id,
};

/// Who carries out a request: one attempt.
pub(super) enum Attempt {}

/// The keys of an app.
pub(super) struct Keys {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) settings: IdempotencySettings,
    /// Requests being carried out, with a client or without.
    pub(super) running: TaskTracker,
    process: LazyLock<Option<Process>>,
    /// Told when a request of this process has ended, by the first byte of its scope.
    ended: [Notify; 64],
}

/// Until when.
#[derive(Clone, Copy)]
pub(super) struct Lease {
    pub(super) locked_until: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// What became of a request for a key.
pub(super) enum Claimed {
    /// It is the caller's to carry out, as this owner, until then.
    Own(Id<Attempt>, Lease),
    /// It was carried out.
    Answered(Answer),
    /// The key was used for something else.
    Reused,
    /// It is being carried out, until then at the latest.
    InFlight(Timestamp),
}

#[derive(sqlx::FromRow)]
struct Row {
    fingerprint: Vec<u8>,
    owner: Id<Attempt>,
    process: Option<String>,
    locked_until: Timestamp,
    expires_at: Timestamp,
    status: Option<i32>,
    head: Option<Json<Head>>,
    body: Option<Vec<u8>>,
}

const FIND: &str = "select fingerprint, owner, process, locked_until, expires_at, status, head, body \
                    from idempotency_keys where scope = $1";

const CLAIM: Sql = same(
    "insert into idempotency_keys (scope, fingerprint, owner, locked_until, expires_at, process) \
     values ($1, $2, $3, $4, $5, $6) on conflict (scope) do nothing",
);

/// From an owner whose lease has ended or whose process is dead, or of a row that has expired. A row that its owner is completing right now is
/// locked, and left.
const TAKE_OVER: Sql = Sql {
    postgres: "update idempotency_keys set fingerprint = $2, owner = $3, locked_until = $4, expires_at = $5, process = $6, \
               status = null, head = null, body = null \
               where scope = (select scope from idempotency_keys where scope = $1 and owner = $7 and (expires_at <= $8 \
               or (status is null and (locked_until <= $8 or $9) and fingerprint = $2)) for update skip locked)",
    sqlite: "update idempotency_keys set fingerprint = $2, owner = $3, locked_until = $4, expires_at = $5, process = $6, \
             status = null, head = null, body = null \
             where scope = $1 and owner = $7 and (expires_at <= $8 \
             or (status is null and (locked_until <= $8 or $9) and fingerprint = $2))",
};

const COMPLETE: &str = "update idempotency_keys set status = $3, head = $4, body = $5 \
                        where scope = $1 and owner = $2 and status is null";

/// Changes nothing; its row is locked and the owner known until the transaction ends.
const CONFIRM: &str = "update idempotency_keys set status = null where scope = $1 and owner = $2 and status is null";

const RELEASE: &str = "delete from idempotency_keys where scope = $1 and owner = $2 and status is null";

const SWEEP: Sql = Sql {
    postgres: "delete from idempotency_keys where scope in (select scope from idempotency_keys where expires_at <= $1 \
               order by expires_at limit $2 for update skip locked)",
    sqlite: "delete from idempotency_keys where scope in (select scope from idempotency_keys where expires_at <= $1 \
             order by expires_at limit $2)",
};

const fn same(sql: &'static str) -> Sql {
    Sql { postgres: sql, sqlite: sql }
}

impl Keys {
    pub(super) fn new(db: Db, clock: Clock, settings: IdempotencySettings) -> Self {
        let ended = std::array::from_fn(|_| Notify::new());
        Self { db, clock, settings, running: TaskTracker::new(), process: LazyLock::new(Process::own), ended }
    }

    /// Wakes those who wait for this request.
    pub(super) fn ended(&self, scope: &Digest) -> &Notify {
        &self.ended[usize::from(scope[0]) % self.ended.len()]
    }

    /// Claims a key, unless somebody has it. It looks first: an insert would wait for an owner that is about to commit, on
    /// PostgreSQL for its row and on SQLite for the only writer.
    pub(super) async fn claim(
        &self,
        scope: &Digest,
        fingerprint: &Digest,
        lease: Duration,
    ) -> Result<Claimed, db::Error> {
        loop {
            let found = self.db.query(FIND).bind(scope.to_vec()).fetch_optional::<Row>().await?;
            let now = self.clock.now();
            let owner = Id::new(now);
            let until = Lease { locked_until: now + lease, expires_at: now + self.settings.retention.max(lease) };
            let claim = |sql: Sql| {
                let query = self.db.query(sql).bind(scope.to_vec()).bind(fingerprint.to_vec()).bind(owner);
                let query = query.bind(until.locked_until).bind(until.expires_at);
                query.bind(self.process.as_ref().map(ToString::to_string))
            };
            let Some(row) = found else {
                if claim(CLAIM).execute().await? == 1 {
                    return Ok(Claimed::Own(owner, until));
                }
                continue;
            };
            let is_dead = row.process.as_deref().is_some_and(|process| self.is_dead(process));
            if row.expires_at > now {
                if row.fingerprint != fingerprint {
                    return Ok(Claimed::Reused);
                }
                if let Some(status) = row.status {
                    return Ok(Claimed::Answered(answer(status, row.head, row.body)));
                }
                if row.locked_until > now && !is_dead {
                    return Ok(Claimed::InFlight(row.locked_until));
                }
            }
            let taken = claim(TAKE_OVER).bind(row.owner).bind(now).bind(is_dead).execute().await?;
            return Ok(if taken == 1 { Claimed::Own(owner, until) } else { Claimed::InFlight(row.locked_until) });
        }
    }

    /// Whether a process is known to be dead. One that may be alive, or can't be looked at, is not.
    fn is_dead(&self, process: &str) -> bool {
        self.process.as_ref().is_some_and(|own| own.is_dead(process))
    }

    /// Stores the answer; false when the request is somebody else's by now.
    pub(super) async fn complete(
        &self,
        scope: &Digest,
        owner: Id<Attempt>,
        answer: &Answer,
    ) -> Result<bool, db::Error> {
        complete(self.db.query(COMPLETE), scope, owner, answer).execute().await.map(|changed| changed == 1)
    }

    /// Lets the request be carried out again, unless it was completed or is somebody else's by now.
    pub(super) async fn release(&self, scope: &Digest, owner: Id<Attempt>) -> Result<(), db::Error> {
        self.db.query(RELEASE).bind(scope.to_vec()).bind(owner).execute().await.map(drop)
    }

    /// Deletes at most so many of the rows that have expired; returns how many.
    pub(super) async fn sweep(&self, most: u32) -> Result<u64, db::Error> {
        self.db.query(SWEEP).bind(self.clock.now()).bind(i64::from(most)).execute().await
    }
}

/// As [`Keys::complete`], in a transaction that then also locks the row.
pub(super) async fn complete_in(
    tx: &mut Tx,
    scope: &Digest,
    owner: Id<Attempt>,
    answer: &Answer,
) -> Result<bool, db::Error> {
    complete(tx.query(COMPLETE), scope, owner, answer).execute().await.map(|changed| changed == 1)
}

/// Whether the request is still this owner's, and stays so until the transaction ends.
pub(super) async fn confirm_in(tx: &mut Tx, scope: &Digest, owner: Id<Attempt>) -> Result<bool, db::Error> {
    tx.query(CONFIRM).bind(scope.to_vec()).bind(owner).execute().await.map(|changed| changed == 1)
}

/// In a tenant's own database, where the claim is not: whoever is first there has carried it out, and what anybody else did is
/// rolled back.
const FIRST: &str = "insert into idempotency_keys (scope, fingerprint, owner, locked_until, expires_at, status, head, body) \
                     values ($1, $1, $2, $6, $7, $3, $4, $5) \
                     on conflict (scope) do update set owner = $2, locked_until = $6, expires_at = $7, status = $3, head = $4, \
                     body = $5 where idempotency_keys.expires_at <= $8";

/// As [`complete_in`], in a transaction of a tenant's own database.
pub(super) async fn complete_apart(
    tx: &mut Tx,
    (scope, owner, until): (&Digest, Id<Attempt>, Lease),
    answer: &Answer,
    now: Timestamp,
) -> Result<bool, db::Error> {
    let query = complete(tx.query(FIRST), scope, owner, answer);
    query.bind(until.locked_until).bind(until.expires_at).bind(now).execute().await.map(|changed| changed == 1)
}

/// What was answered by whoever was first in a tenant's own database.
pub(super) async fn answered_apart(tx: &mut Tx, scope: &Digest, now: Timestamp) -> Result<Option<Answer>, db::Error> {
    let row = tx.query(FIND).bind(scope.to_vec()).fetch_optional::<Row>().await?;
    let row = row.filter(|row| row.expires_at > now);
    Ok(row.and_then(|row| Some(answer(row.status?, row.head, row.body))))
}

fn complete<'a>(query: db::Query<'a>, scope: &Digest, owner: Id<Attempt>, answer: &Answer) -> db::Query<'a> {
    let body = answer.body.as_ref().map(|body| body.to_vec());
    let query = query.bind(scope.to_vec()).bind(owner).bind(i32::from(answer.status.as_u16()));
    query.bind(Json(answer.head.clone())).bind(body)
}

fn answer(status: i32, head: Option<Json<Head>>, body: Option<Vec<u8>>) -> Answer {
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    Answer {
        status: status.unwrap_or(StatusCode::OK),
        head: head.map(|head| head.0).unwrap_or_default(),
        body: body.map(Bytes::from),
    }
}
