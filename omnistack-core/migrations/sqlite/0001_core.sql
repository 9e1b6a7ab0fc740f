-- Jobs. A row is one job, until the retention of its state ends. Times in this file that are integers are
-- microseconds since 1970 UTC, bound by the app, so that both databases compare plain numbers.
create table omni_jobs (
    id           blob primary key,
    name         text not null,
    queue        text not null,
    payload      text not null,
    -- scheduled: not due yet; ready; running: leased; done, dead, cancelled: finished.
    state        text not null,
    -- The order among ready jobs: the due time, plus a minute for each step of priority. So no job waits forever.
    rank         integer not null,
    run_at       integer not null,
    attempt      integer not null default 0,
    max_attempts integer not null,
    -- Counts leases. A worker with an older lease can't change the job any more.
    lease        integer not null default 0,
    lease_until  integer,
    worker       blob,
    timeout      integer,
    cancel       integer not null default 0,
    progress     integer,
    note         text,
    unique_key   text,
    unique_until integer,
    batch        blob,
    tenant       blob,
    -- W3C traceparent and tracestate of the transaction that enqueued the job.
    trace        text,
    trace_state  text,
    error        text,
    created_at   integer not null,
    started_at   integer,
    finished_at  integer
) strict;

-- One index for each query, with only the rows it needs: finished and scheduled jobs cost a claim nothing.
create index omni_jobs_ready on omni_jobs (queue, rank) where state = 'ready';
create index omni_jobs_scheduled on omni_jobs (run_at) where state = 'scheduled';
create index omni_jobs_running on omni_jobs (lease_until) where state = 'running';
create index omni_jobs_done on omni_jobs (finished_at) where state = 'done';
create index omni_jobs_dead on omni_jobs (finished_at) where state = 'dead';
create index omni_jobs_cancelled on omni_jobs (finished_at) where state = 'cancelled';
create index omni_jobs_batch on omni_jobs (batch) where batch is not null;
-- For operators: the newest jobs that match, and their number.
create index omni_jobs_of_name on omni_jobs (name, state, id);
create index omni_jobs_of_queue on omni_jobs (queue, state, id);
create index omni_jobs_of_tenant on omni_jobs (tenant, state, id) where tenant is not null;
create unique index omni_jobs_unique on omni_jobs (name, unique_key) where unique_key is not null;

-- A row is one failed attempt of a job.
create table omni_job_failures (
    job     blob not null,
    attempt integer not null,
    at      integer not null,
    error   text not null,
    primary key (job, attempt)
) strict;

-- A row is a queue that is paused or has a rate; other queues have no row.
create table omni_job_queues (
    name   text primary key,
    paused integer not null default 0,
    -- When all tokens used so far are refilled, by the generic cell rate algorithm.
    earned integer not null default 0
) strict;

-- A row is a batch of jobs with jobs that have not finished.
create table omni_job_batches (
    id        blob primary key,
    pending   integer not null,
    failed    integer not null default 0,
    -- The job to enqueue when none is pending, as the JSON of its row.
    callback  text
) strict;

-- A row is a cron schedule, with the time of its last tick.
create table omni_job_crons (
    name      text primary key,
    last_tick integer not null
) strict;

-- A row is one event, until all its deliveries are purged.
create table omni_events (
    -- The order, which is that of the commits: there is one writer.
    seq          integer primary key autoincrement,
    id           blob not null,
    name         text not null,
    key          text not null,
    payload      text not null,
    tenant       blob,
    trace        text,
    trace_state  text,
    published_at integer not null
) strict;
create unique index omni_events_id on omni_events (id);

-- A row is the delivery of one event to one subscriber.
create table omni_event_deliveries (
    seq        integer not null,
    subscriber text not null,
    key        text not null,
    -- waiting; dead: failed permanently, holds back its key; done, skipped: finished.
    state      text not null default 'waiting',
    attempt    integer not null default 0,
    -- Counts claims. A dispatcher with an older one can't change the delivery any more.
    lease      integer not null default 0,
    error      text,
    ended_at   integer,
    primary key (seq, subscriber)
) strict;
create index omni_event_deliveries_open on omni_event_deliveries (subscriber, key, seq) where state in ('waiting', 'dead');
create index omni_event_deliveries_dead on omni_event_deliveries (seq) where state = 'dead';
-- For operators: the newest deliveries that match, and their number.
create index omni_event_deliveries_of_subscriber on omni_event_deliveries (subscriber, state, seq);
create index omni_event_deliveries_of_key on omni_event_deliveries (key, seq, subscriber);
create index omni_event_deliveries_ended on omni_event_deliveries (ended_at) where ended_at is not null;

-- A row is a key of a subscriber with unfinished deliveries, and when it is due; null while a dead letter holds it
-- back.
create table omni_event_lanes (
    subscriber text not null,
    key        text not null,
    run_at     integer,
    primary key (subscriber, key)
) strict;
create index omni_event_lanes_due on omni_event_lanes (subscriber, run_at);

-- A row is the head of an audit chain: one for each tenant, and one for the app under the nil id. The head is
-- written with each entry; a rollback leaves no gap. Without row ids, which `insert or replace` could conflict with
-- instead of the primary key.
create table omni_audit_chains (
    tenant_id blob primary key not null,
    -- Number and hash of the last entry, and the hash of the entry before.
    sequence integer not null check (sequence >= 0),
    previous blob not null,
    hash blob not null,
    -- Number of the last entry that retention removed, 0 if none was; verification starts after it.
    checkpoint integer not null check (checkpoint >= 0 and checkpoint <= sequence),
    checkpoint_hash blob not null
) strict, without rowid;

-- The app's own chain exists from the first migration on: a database without it was emptied and does not verify.
insert into omni_audit_chains values (zeroblob(16), 0, zeroblob(32), zeroblob(32), 0, zeroblob(32));

-- A row is one audit entry.
create table omni_audit_entries (
    tenant_id blob not null,
    sequence integer not null check (sequence > 0),
    id blob not null,
    at text not null,
    actor blob,
    action text not null,
    resource text,
    -- JSON as it was hashed.
    details text,
    previous blob not null,
    hash blob not null,
    primary key (tenant_id, sequence)
) strict, without rowid;

create index omni_audit_entries_newest on omni_audit_entries (at desc, tenant_id desc, sequence desc);
create index omni_audit_entries_newest_of_tenant on omni_audit_entries (tenant_id, at desc, sequence desc);
create index omni_audit_entries_newest_of_action on omni_audit_entries (action, at desc, tenant_id desc, sequence desc);
create index omni_audit_entries_newest_of_tenant_and_action on omni_audit_entries (tenant_id, action, at desc, sequence desc);
create index omni_audit_entries_newest_of_resource on omni_audit_entries (resource, at desc, tenant_id desc, sequence desc)
    where resource is not null;
create index omni_audit_entries_newest_of_actor on omni_audit_entries (actor, at desc, tenant_id desc, sequence desc);

-- Entries are never changed, and are only removed by retention, which moves the checkpoint first.
-- `insert or replace` fires no delete trigger, so an existing entry is refused before the insert.
create trigger omni_audit_entries_insert before insert on omni_audit_entries
    when exists (select 1 from omni_audit_entries where tenant_id = new.tenant_id and sequence = new.sequence) begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger omni_audit_chains_insert before insert on omni_audit_chains
    when exists (select 1 from omni_audit_chains where tenant_id = new.tenant_id) begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger omni_audit_entries_update before update on omni_audit_entries begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger omni_audit_entries_delete before delete on omni_audit_entries
    when old.sequence > coalesce((select checkpoint from omni_audit_chains where tenant_id = old.tenant_id), 0) begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger omni_audit_chains_forward before update on omni_audit_chains
    when new.sequence < old.sequence or new.checkpoint < old.checkpoint or new.tenant_id <> old.tenant_id begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger omni_audit_chains_delete before delete on omni_audit_chains begin
    select raise(abort, 'audit entries are only ever added');
end;

-- The next three tables are for apps in which each tenant has a separate database (`TENANT_DATABASE_URL`). Every
-- database has them.

-- In the app's database: a row is a tenant that has a database, or had one.
create table omni_tenant_databases (
    tenant_id blob primary key not null,
    made_at text not null,
    -- When the tenant was deleted: its database is to be removed and is never created again.
    left_at text,
    removed_at text
) strict;
create index omni_tenant_databases_leaving on omni_tenant_databases (left_at) where removed_at is null;

-- A row is content to relay to the other database after the commit of the transaction that wrote it: in a tenant
-- database, of the app (jobs, events, emails); in the app's database, of a tenant (audit entries).
create table omni_tenant_outbox (
    seq integer primary key autoincrement,
    tenant_id blob not null,
    kind text not null,
    content text not null,
    created_at text not null
) strict;
create index omni_tenant_outbox_of_tenant on omni_tenant_outbox (tenant_id, seq);

-- A row is the id of a relayed row that was processed, so that each is processed once.
create table omni_tenant_inbox (
    id blob not null,
    receiver text not null,
    created_at text not null,
    primary key (id, receiver)
) strict;
create index omni_tenant_inbox_created_at_idx on omni_tenant_inbox (created_at);
