//! Inserts of jobs.

use std::collections::HashSet;

use crate::{
    db::{Error, Sql, Tx},
    id::Id,
    jobs::{Enqueued, JobId, new_job::JobRow},
};

/// One statement for any number of jobs. On PostgreSQL it notifies the channel of the workers, when it commits,
/// of each queue that has a new ready job.
const INSERT: Sql = Sql {
    postgres: "with inserted as (
    insert into omni_jobs (id, name, queue, payload, state, rank, run_at, max_attempts, timeout, unique_key, unique_until,
        batch, tenant, trace, trace_state, created_at)
    select id::uuid, name, queue, payload, state, rank, run_at, max_attempts, timeout, unique_key, unique_until,
        batch::uuid, tenant::uuid, trace, trace_state, created_at
    from json_to_recordset($1::json) as new(id text, name text, queue text, payload text, state text, rank bigint,
        run_at bigint, max_attempts integer, timeout bigint, unique_key text, unique_until bigint, batch text, tenant text,
        trace text, trace_state text, created_at bigint)
    on conflict do nothing
    returning id, queue, state)
select id, case when state = 'ready' and row_number() over (partition by queue, state) = 1
    then pg_notify('omnistack_jobs', queue)::text end from inserted",
    sqlite: "insert into omni_jobs (id, name, queue, payload, state, rank, run_at, max_attempts, timeout, unique_key, unique_until,
    batch, tenant, trace, trace_state, created_at)
select unhex(value ->> 'id'), value ->> 'name', value ->> 'queue', value ->> 'payload', value ->> 'state', value ->> 'rank',
    value ->> 'run_at', value ->> 'max_attempts', value ->> 'timeout', value ->> 'unique_key', value ->> 'unique_until',
    unhex(value ->> 'batch'), unhex(value ->> 'tenant'), value ->> 'trace', value ->> 'trace_state',
    value ->> 'created_at'
from json_each($1) where true
on conflict do nothing
returning id, null",
};

/// Frees the key of a finished job whose window is over.
const FREE_KEY: &str = "update omni_jobs set unique_key = null where name = $1 and unique_key = $2
    and state in ('done', 'dead', 'cancelled') and (unique_until is null or unique_until <= $3)";

const HOLDER: &str = "select id from omni_jobs where name = $1 and unique_key = $2";

/// Inserts jobs from a tenant database, unless they were inserted before or their unique keys are in use.
pub(in crate::jobs) async fn insert_relayed(tx: &mut Tx, rows: &[JobRow], now: i64) -> Result<(), Error> {
    for (row, key) in rows.iter().filter_map(|row| row.unique_key.as_ref().map(|key| (row, key))) {
        tx.query(FREE_KEY).bind(row.name.clone()).bind(key.clone()).bind(now).execute().await?;
    }
    tx.query(INSERT).bind(super::json(&rows)).execute().await.map(drop)
}

/// Inserts jobs. For a job whose unique key is in use, returns the id of the existing job.
pub(in crate::jobs) async fn insert(tx: &mut Tx, rows: &[JobRow], now: i64) -> Result<Vec<Enqueued>, Error> {
    let keyed = || rows.iter().filter_map(|row| row.unique_key.as_ref().map(|key| (row, key)));
    for (row, key) in keyed() {
        tx.query(FREE_KEY).bind(row.name.clone()).bind(key.clone()).bind(now).execute().await?;
    }
    let inserted: Vec<(JobId, Option<String>)> = tx.query(INSERT).bind(super::json(&rows)).fetch_all().await?;
    if keyed().next().is_none() {
        return Ok(rows.iter().map(|row| Enqueued { id: row.job, duplicate: false }).collect());
    }
    let inserted: HashSet<_> = inserted.into_iter().map(|(id, _)| id.uuid()).collect();
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let taken = row.unique_key.as_ref().filter(|_| !inserted.contains(&row.job.uuid()));
        let id = match taken {
            None => row.job,
            Some(key) => {
                let holder = tx.query(HOLDER).bind(row.name.clone()).bind(key.clone());
                let holder: Option<(Id<_>,)> = holder.fetch_optional().await?;
                let Some((id,)) = holder else {
                    // The existing job has just finished, so the key is free.
                    all.append(&mut Box::pin(insert(tx, std::slice::from_ref(row), now)).await?);
                    continue;
                };
                id
            }
        };
        all.push(Enqueued { id, duplicate: taken.is_some() });
    }
    Ok(all)
}
