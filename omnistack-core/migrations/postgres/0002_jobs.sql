-- The job queue. Times are microseconds since 1970 UTC, bound by the app, so that both databases compare plain numbers.
create table jobs (
    id           uuid primary key,
    name         text not null,
    queue        text not null,
    payload      text not null,
    -- scheduled: not due yet; ready; running: leased; done, dead, cancelled: finished.
    state        text not null,
    -- The order among ready jobs: the due time, plus a minute for each step of priority. So no job waits forever.
    rank         bigint not null,
    run_at       bigint not null,
    attempt      integer not null default 0,
    max_attempts integer not null,
    -- Counts leases. A worker with an older lease can't change the job any more.
    lease        integer not null default 0,
    lease_until  bigint,
    worker       uuid,
    timeout      bigint,
    cancel       boolean not null default false,
    progress     integer,
    note         text,
    unique_key   text,
    unique_until bigint,
    batch        uuid,
    tenant       uuid,
    trace        text,
    error        text,
    created_at   bigint not null,
    started_at   bigint,
    finished_at  bigint
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- One index for each query, with only the rows it needs: finished and scheduled jobs cost a claim nothing.
create index jobs_ready on jobs (queue, rank) where state = 'ready';
create index jobs_scheduled on jobs (run_at) where state = 'scheduled';
create index jobs_running on jobs (lease_until) where state = 'running';
create index jobs_done on jobs (finished_at) where state = 'done';
create index jobs_dead on jobs (finished_at) where state = 'dead';
create index jobs_cancelled on jobs (finished_at) where state = 'cancelled';
create index jobs_batch on jobs (batch) where batch is not null;
-- For operators: the newest jobs that match, and their number.
create index jobs_of_name on jobs (name, state, id);
create index jobs_of_queue on jobs (queue, state, id);
create index jobs_of_tenant on jobs (tenant, state, id) where tenant is not null;
create unique index jobs_unique on jobs (name, unique_key) where unique_key is not null;

create table job_failures (
    job     uuid not null,
    attempt integer not null,
    at      bigint not null,
    error   text not null,
    primary key (job, attempt)
);

-- Queues that are paused or have a rate; other queues have no row.
create table job_queues (
    name   text primary key,
    paused boolean not null default false,
    -- When all tokens used so far are refilled, by the generic cell rate algorithm.
    earned bigint not null default 0
);

create table job_batches (
    id        uuid primary key,
    pending   integer not null,
    failed    integer not null default 0,
    -- The job to enqueue when none is pending, as the JSON of its row.
    callback  text
);

create table job_crons (
    name      text primary key,
    last_tick bigint not null
);
