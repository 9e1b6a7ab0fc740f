-- A row is a meter of the app, which must not change once it has counted.
create table omni_usage_meters (
    name text primary key,
    aggregation text not null,
    decimals integer not null,
    lifetime boolean not null,
    created_at timestamptz not null
);

-- The columns of the keys below are compared by their bytes, as on SQLite: the rules of a language take several times as
-- long, for each step of a search.

-- A row is a usage event. Rows are only added, and deleted by retention.
create table omni_usage_events (
    tenant_id uuid not null,
    -- `live` or `test`.
    environment text collate "C" not null,
    source text collate "C" not null,
    event_id text collate "C" not null,
    -- The first 16 bytes of the SHA-256 of what counts.
    hash bytea not null,
    meter text collate "C" not null,
    -- The quantity as a decimal number, and in the smallest units of the meter. The latter is null if the meter was
    -- unknown: the event is unmatched, and counts nowhere.
    quantity text not null,
    units bigint,
    category text,
    user_id uuid,
    api_key_id uuid,
    at timestamptz not null,
    received_at timestamptz not null,
    -- The start of the billing period in which it is billed; another than that of `at` if it was late. Null if the event
    -- is unmatched or not billed.
    billed_in timestamptz,
    primary key (tenant_id, environment, source, event_id)
);
-- Rows are stored in the order of this time, so the smallest kind of index is enough to find the oldest.
create index omni_usage_events_received_at_idx on omni_usage_events using brin (received_at);
-- For the job that counts them, in the order of the keys, and for the list of a tenant.
create index omni_usage_events_unmatched_idx on omni_usage_events (meter, tenant_id, environment, source, event_id)
    where units is null;
create index omni_usage_events_unmatched_tenant_idx on omni_usage_events (tenant_id, meter, at) where units is null;
alter table omni_usage_events enable row level security;
alter table omni_usage_events force row level security;
create policy tenant on omni_usage_events using (omnistack_visible(tenant_id));

-- A row is the usage of a tenant in one minute, hour, day or billing period, or its total.
create table omni_usage_windows (
    tenant_id uuid not null,
    environment text collate "C" not null,
    meter text collate "C" not null,
    -- `minute`, `hour`, `day` (of UTC), `period` or `total`.
    grain text collate "C" not null,
    -- The start; 1970 for the total.
    start timestamptz not null,
    -- In the smallest units of the meter.
    sum bigint not null,
    events bigint not null,
    max bigint not null,
    last bigint not null,
    last_at timestamptz not null,
    -- The id and the source of the latest event.
    last_id text collate "C" not null,
    -- The number of different users or categories, for meters that count them.
    uniques bigint not null default 0,
    -- The units that reservations hold, in the rows that limits apply to.
    reserved bigint not null default 0,
    primary key (tenant_id, environment, meter, grain, start)
) with (fillfactor = 70);
create index omni_usage_windows_start_idx on omni_usage_windows (grain, start) where grain in ('minute', 'hour', 'day');
alter table omni_usage_windows enable row level security;
alter table omni_usage_windows force row level security;
create policy tenant on omni_usage_windows using (omnistack_visible(tenant_id));

-- A row is the usage of one user, API key and category in one day or month of UTC.
create table omni_usage_dimensions (
    tenant_id uuid not null,
    environment text collate "C" not null,
    meter text collate "C" not null,
    -- `day` or `month`.
    grain text collate "C" not null,
    start timestamptz not null,
    -- Empty if the events had none.
    category text collate "C" not null,
    -- Only zeros if the events had none.
    user_id uuid not null,
    api_key_id uuid not null,
    sum bigint not null,
    events bigint not null,
    max bigint not null,
    primary key (tenant_id, environment, meter, grain, start, category, user_id, api_key_id)
) with (fillfactor = 70);
create index omni_usage_dimensions_user_id_idx on omni_usage_dimensions (user_id, grain, start);
create index omni_usage_dimensions_start_idx on omni_usage_dimensions (meter, grain, start);
alter table omni_usage_dimensions enable row level security;
alter table omni_usage_dimensions force row level security;
create policy tenant on omni_usage_dimensions using (omnistack_visible(tenant_id));

-- A row is usage that is billed in a later period than that in which it occurred.
create table omni_usage_late (
    tenant_id uuid not null,
    environment text collate "C" not null,
    meter text collate "C" not null,
    -- The starts of the two billing periods.
    billed_in timestamptz not null,
    used_in timestamptz not null,
    sum bigint not null,
    events bigint not null,
    primary key (tenant_id, environment, meter, billed_in, used_in)
);
alter table omni_usage_late enable row level security;
alter table omni_usage_late force row level security;
create policy tenant on omni_usage_late using (omnistack_visible(tenant_id));

-- A row is a user or category that a window has counted, for meters that count different ones.
create table omni_usage_uniques (
    tenant_id uuid not null,
    environment text collate "C" not null,
    meter text collate "C" not null,
    grain text collate "C" not null,
    start timestamptz not null,
    value text collate "C" not null,
    primary key (tenant_id, environment, meter, grain, start, value)
);
create index omni_usage_uniques_start_idx on omni_usage_uniques (grain, start) where grain in ('minute', 'hour');
alter table omni_usage_uniques enable row level security;
alter table omni_usage_uniques force row level security;
create policy tenant on omni_usage_uniques using (omnistack_visible(tenant_id));

-- A row is the usage of all tenants in one day of UTC, which a job adds up.
create table omni_usage_totals (
    environment text collate "C" not null,
    meter text collate "C" not null,
    day timestamptz not null,
    sum bigint not null,
    events bigint not null,
    max bigint not null,
    tenants bigint not null,
    primary key (environment, meter, day)
);
