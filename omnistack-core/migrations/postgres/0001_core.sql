-- Returns whether rows of a tenant are visible to this transaction: those of the tenant it was begun for
-- (`Db::tenant`), or all (`Db::all_tenants`). For the policies of tenant tables, see `omnistack_protect`.
create function omnistack_visible(tenant uuid) returns boolean
    language sql stable parallel safe
    return case current_setting('omnistack.tenant', true)
        when '*' then true
        when '' then false
        else tenant = current_setting('omnistack.tenant', true)::uuid
    end;

-- Protects a table with a column `tenant_id`: transactions see, insert and change only rows of their tenant, also those
-- of the table's owner.
--
--   select omnistack_protect('projects');
create function omnistack_protect(protected regclass) returns void language plpgsql as $protect$
begin
    execute format('alter table %s enable row level security', protected);
    execute format('alter table %s force row level security', protected);
    execute format('create policy tenant on %s using (omnistack_visible(tenant_id))', protected);
end $protect$;

-- Returns the trigrams of a text in lower case, each hashed with its owner, so that the index separates the
-- tenants.
create function omnistack_grams(words text, owner text) returns integer[]
    language sql immutable parallel safe
    return (
        select coalesce(array_agg(distinct hashtext(concat(owner, one, two, three))), '{}') from (
            select letter as one, lead(letter) over places as two, lead(letter, 2) over places as three
            from string_to_table(lower(words), null) with ordinality as letters (letter, place) window places as (order by place)
        ) as grams where three is not null
    );

-- Creates the search index of a table's columns, for `?q=`, with the rows of all tenants, and the trigger that updates
-- it:
--
--   select omnistack_search('projects', 'name', 'description');
--
-- The index is a separate table, `projects_search`, because with row-level security operators of trigrams can't
-- use an index. It holds ids and hashes. The policy of the searched table decides which rows are visible. A further
-- call, with other columns, replaces the index.
create function omnistack_search(searched regclass, variadic columns name[]) returns void language plpgsql as $search$
declare
    place text := (select format('%I.%I', nspname, relname || '_search') from pg_class
        join pg_namespace on pg_namespace.oid = relnamespace where pg_class.oid = searched);
    keeper text := (select format('%I.%I', nspname, relname || '_search_keep') from pg_class
        join pg_namespace on pg_namespace.oid = relnamespace where pg_class.oid = searched);
    visible text := coalesce(current_setting('omnistack.tenant', true), '');
    owner text := case when exists (select from pg_attribute where attrelid = searched and attname = 'tenant_id')
        then 'it.tenant_id::text' else 'null' end;
    words text := (select format('concat_ws(chr(10), %s)', string_agg(format('it.%I', name), ', ')) from unnest(columns) as name);
    changed text := (select string_agg(format('%I', name), ', ') from unnest(columns) as name);
begin
    -- Writes wait until the trigger keeps the index, so that no row is missed. Searches see an earlier index meanwhile.
    execute format('lock table %s in share row exclusive mode', searched);
    if exists (select from pg_attribute where attrelid = to_regclass(place) and attname = 'grams') then
        execute format('delete from %s', place);
    else
        execute format('create table %s (id uuid primary key, grams integer[] not null)', place);
        -- Without a list of pending entries: a search would read all of it.
        execute format('create index on %s using gin (grams) with (fastupdate = off)', place);
    end if;
    -- A protected table shows the rows of all tenants only if the transaction says so. Only a superuser could state this
    -- setting at the function.
    perform set_config('omnistack.tenant', '*', true);
    execute format('insert into %s select it.id, omnistack_grams(%s, %s) from %s as it', place, words, owner, searched);
    perform set_config('omnistack.tenant', visible, true);
    execute format($trigger$
        create or replace function %5$s() returns trigger language plpgsql as $keep$
        declare
            it %2$s%%rowtype := new;
        begin
            if tg_op = 'DELETE' then
                delete from %1$s where id = old.id;
            else
                insert into %1$s values (it.id, omnistack_grams(%3$s, %4$s))
                on conflict (id) do update set grams = excluded.grams;
            end if;
            return null;
        end $keep$
    $trigger$, place, searched, words, owner, keeper);
    execute format('create or replace trigger search after insert or delete or update of %s on %s for each row execute function %s()',
        changed, searched, keeper);
end $search$;

-- Jobs. A row is one job, until the retention of its state ends. Times in this file that are integers are
-- microseconds since 1970 UTC, bound by the app, so that both databases compare plain numbers.
create table omni_jobs (
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
    -- W3C traceparent and tracestate of the transaction that enqueued the job.
    trace        text,
    trace_state  text,
    error        text,
    created_at   bigint not null,
    started_at   bigint,
    finished_at  bigint
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

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
    job     uuid not null,
    attempt integer not null,
    at      bigint not null,
    error   text not null,
    primary key (job, attempt)
);

-- A row is a queue that is paused or has a rate; other queues have no row.
create table omni_job_queues (
    name   text primary key,
    paused boolean not null default false,
    -- When all tokens used so far are refilled, by the generic cell rate algorithm.
    earned bigint not null default 0
);

-- A row is a batch of jobs with jobs that have not finished.
create table omni_job_batches (
    id        uuid primary key,
    pending   integer not null,
    failed    integer not null default 0,
    -- The job to enqueue when none is pending, as the JSON of its row.
    callback  text
);

-- A row is a cron schedule, with the time of its last tick.
create table omni_job_crons (
    name      text primary key,
    last_tick bigint not null
);

-- A row is one event, until all its deliveries are purged.
create table omni_events (
    -- The order. Events with the same name and key are published one transaction after another, so it is that of
    -- their commits.
    seq          bigint generated always as identity primary key,
    id           uuid not null,
    name         text not null,
    key          text not null,
    payload      text not null,
    tenant       uuid,
    trace        text,
    trace_state  text,
    published_at bigint not null
);
create unique index omni_events_id on omni_events (id);

-- A row is the delivery of one event to one subscriber.
create table omni_event_deliveries (
    seq        bigint not null,
    subscriber text not null,
    key        text not null,
    -- waiting; dead: failed permanently, holds back its key; done, skipped: finished.
    state      text not null default 'waiting',
    attempt    integer not null default 0,
    -- Counts claims. A dispatcher with an older one can't change the delivery any more.
    lease      integer not null default 0,
    error      text,
    ended_at   bigint,
    primary key (seq, subscriber)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index omni_event_deliveries_open on omni_event_deliveries (subscriber, key, seq) where state in ('waiting', 'dead');
create index omni_event_deliveries_dead on omni_event_deliveries (seq) where state = 'dead';
-- For operators: the newest deliveries that match, and their number.
create index omni_event_deliveries_of_subscriber on omni_event_deliveries (subscriber, state, seq);
create index omni_event_deliveries_of_key on omni_event_deliveries (key, seq, subscriber);
create index omni_event_deliveries_ended on omni_event_deliveries (ended_at) where ended_at is not null;

-- A row is a key of a subscriber with unfinished deliveries, and when it is due; null while a dead letter holds it
-- back. A publisher holds a shared lock on it, so that it is not removed before the publisher's rows are visible.
create table omni_event_lanes (
    subscriber text not null,
    key        text not null,
    run_at     bigint,
    primary key (subscriber, key)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index omni_event_lanes_due on omni_event_lanes (subscriber, run_at);

-- A row is the head of an audit chain: one for each tenant, and one for the app under the nil id. The head is
-- written with each entry, so that transactions that record in one chain wait for each other, and a rollback leaves
-- no gap.
create table omni_audit_chains (
    tenant_id uuid primary key,
    -- Number and hash of the last entry, and the hash of the entry before.
    sequence bigint not null check (sequence >= 0),
    previous bytea not null,
    hash bytea not null,
    -- Number of the last entry that retention removed, 0 if none was; verification starts after it.
    checkpoint bigint not null check (checkpoint >= 0 and checkpoint <= sequence),
    checkpoint_hash bytea not null
);

-- The app's own chain exists from the first migration on: a database without it was emptied and does not verify.
insert into omni_audit_chains
select '00000000-0000-0000-0000-000000000000'::uuid, 0, zeros, zeros, 0, zeros from decode(repeat('00', 32), 'hex') as zeros;

-- A row is one audit entry.
create table omni_audit_entries (
    tenant_id uuid not null,
    sequence bigint not null check (sequence > 0),
    id uuid not null,
    at timestamptz not null,
    actor uuid,
    action text not null,
    resource text,
    -- JSON as it was hashed; `jsonb` would change its text.
    details text,
    previous bytea not null,
    hash bytea not null,
    primary key (tenant_id, sequence)
);

create index omni_audit_entries_newest on omni_audit_entries (at desc, tenant_id desc, sequence desc);
create index omni_audit_entries_newest_of_tenant on omni_audit_entries (tenant_id, at desc, sequence desc);
create index omni_audit_entries_newest_of_action on omni_audit_entries (action, at desc, tenant_id desc, sequence desc);
create index omni_audit_entries_newest_of_tenant_and_action on omni_audit_entries (tenant_id, action, at desc, sequence desc);
create index omni_audit_entries_newest_of_resource on omni_audit_entries (resource, at desc, tenant_id desc, sequence desc)
    where resource is not null;
create index omni_audit_entries_newest_of_actor on omni_audit_entries (actor, at desc, tenant_id desc, sequence desc);

-- Returns whether this transaction may record in a chain. A transaction for a tenant may record in the tenant's
-- and the app's chain, a transaction for all tenants or for none in any chain.
create function omnistack_may_record(tenant uuid) returns boolean
    language sql stable parallel safe
    return case coalesce(current_setting('omnistack.tenant', true), '')
        when '*' then true
        when '' then true
        else tenant in (current_setting('omnistack.tenant', true)::uuid, '00000000-0000-0000-0000-000000000000')
    end;

-- Entries are visible like other rows of a tenant, but may also be recorded by transactions that can't read them.
-- A head only reveals the number of entries.
alter table omni_audit_entries enable row level security;
alter table omni_audit_entries force row level security;
create policy tenant on omni_audit_entries using (omnistack_visible(tenant_id));
create policy record on omni_audit_entries for insert with check (omnistack_may_record(tenant_id));
alter table omni_audit_chains enable row level security;
alter table omni_audit_chains force row level security;
create policy record on omni_audit_chains using (omnistack_may_record(tenant_id));

-- Entries are never changed, and are only removed by retention, which moves the checkpoint first.
create function omnistack_audit_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'audit entries are only ever added' using errcode = 'restrict_violation';
end $$;

create function omnistack_audit_retained() returns trigger language plpgsql as $$
begin
    if old.sequence > coalesce((select checkpoint from omni_audit_chains where tenant_id = old.tenant_id), 0) then
        raise exception 'audit entries are only ever added' using errcode = 'restrict_violation';
    end if;
    return old;
end $$;

create trigger omni_audit_entries_update before update on omni_audit_entries
    for each row execute function omnistack_audit_refuse();
create trigger omni_audit_entries_delete before delete on omni_audit_entries
    for each row execute function omnistack_audit_retained();
create trigger omni_audit_entries_truncate before truncate on omni_audit_entries
    for each statement execute function omnistack_audit_refuse();
create trigger omni_audit_chains_forward before update on omni_audit_chains
    for each row when (new.sequence < old.sequence or new.checkpoint < old.checkpoint or new.tenant_id <> old.tenant_id)
    execute function omnistack_audit_refuse();
create trigger omni_audit_chains_delete before delete on omni_audit_chains
    for each row execute function omnistack_audit_refuse();
create trigger omni_audit_chains_truncate before truncate on omni_audit_chains
    for each statement execute function omnistack_audit_refuse();

-- The next three tables are for apps in which each tenant has a separate database (`TENANT_DATABASE_URL`). Every
-- database has them.

-- In the app's database: a row is a tenant that has a database, or had one.
create table omni_tenant_databases (
    tenant_id uuid primary key,
    made_at timestamptz not null,
    -- When the tenant was deleted: its database is to be removed and is never created again.
    left_at timestamptz,
    removed_at timestamptz
);
create index omni_tenant_databases_leaving on omni_tenant_databases (left_at) where removed_at is null;

-- A row is content to relay to the other database after the commit of the transaction that wrote it: in a tenant
-- database, of the app (jobs, events, emails); in the app's database, of a tenant (audit entries).
create table omni_tenant_outbox (
    seq bigint generated always as identity primary key,
    tenant_id uuid not null,
    kind text not null,
    content text not null,
    created_at timestamptz not null
);
create index omni_tenant_outbox_of_tenant on omni_tenant_outbox (tenant_id, seq);
-- May also be inserted by transactions that can't read it, like audit entries.
alter table omni_tenant_outbox enable row level security;
alter table omni_tenant_outbox force row level security;
create policy tenant on omni_tenant_outbox using (omnistack_visible(tenant_id));
create policy record on omni_tenant_outbox for insert with check (omnistack_may_record(tenant_id));

-- A row is the id of a relayed row that was processed, so that each is processed once.
create table omni_tenant_inbox (
    id uuid not null,
    receiver text not null,
    created_at timestamptz not null,
    primary key (id, receiver)
);
create index omni_tenant_inbox_created_at_idx on omni_tenant_inbox (created_at);
