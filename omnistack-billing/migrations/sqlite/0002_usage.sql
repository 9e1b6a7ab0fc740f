-- A row is a meter of the app, which must not change once it has counted.
create table omni_usage_meters (
    name text primary key not null,
    aggregation text not null,
    decimals integer not null,
    lifetime integer not null,
    created_at text not null
) strict;

-- A row is a usage event. Rows are only added, and deleted by retention, in the order of their row ids.
create table omni_usage_events (
    tenant_id blob not null,
    -- `live` or `test`.
    environment text not null,
    source text not null,
    event_id text not null,
    -- The first 16 bytes of the SHA-256 of what counts.
    hash blob not null,
    meter text not null,
    -- The quantity as a decimal number, and in the smallest units of the meter. The latter is null if the meter was
    -- unknown: the event is unmatched, and counts nowhere.
    quantity text not null,
    units integer,
    category text,
    user_id blob,
    api_key_id blob,
    at text not null,
    received_at text not null,
    -- The start of the billing period in which it is billed; another than that of `at` if it was late. Null if the event
    -- is unmatched or not billed.
    billed_in text,
    primary key (tenant_id, environment, source, event_id)
) strict;
-- For the job that counts them, in the order of the keys, and for the list of a tenant.
create index omni_usage_events_unmatched_idx on omni_usage_events (meter, tenant_id, environment, source, event_id)
    where units is null;
create index omni_usage_events_unmatched_tenant_idx on omni_usage_events (tenant_id, meter, at) where units is null;

-- A row is the usage of a tenant in one minute, hour, day or billing period, or its total. This table and the following
-- ones are stored in the order of their keys, in which they are read and written: one tree to search, and not two.
create table omni_usage_windows (
    tenant_id blob not null,
    environment text not null,
    meter text not null,
    -- `minute`, `hour`, `day` (of UTC), `period` or `total`.
    grain text not null,
    -- The start; 1970 for the total.
    start text not null,
    -- In the smallest units of the meter.
    sum integer not null,
    events integer not null,
    max integer not null,
    last integer not null,
    last_at text not null,
    -- The id and the source of the latest event.
    last_id text not null,
    -- The number of different users or categories, for meters that count them.
    uniques integer not null default 0,
    -- The units that reservations hold, in the rows that limits apply to.
    reserved integer not null default 0,
    primary key (tenant_id, environment, meter, grain, start)
) strict, without rowid;
create index omni_usage_windows_start_idx on omni_usage_windows (grain, start) where grain in ('minute', 'hour', 'day');

-- A row is the usage of one user, API key and category in one day or month of UTC.
create table omni_usage_dimensions (
    tenant_id blob not null,
    environment text not null,
    meter text not null,
    -- `day` or `month`.
    grain text not null,
    start text not null,
    -- Empty if the events had none.
    category text not null,
    -- Only zeros if the events had none.
    user_id blob not null,
    api_key_id blob not null,
    sum integer not null,
    events integer not null,
    max integer not null,
    primary key (tenant_id, environment, meter, grain, start, category, user_id, api_key_id)
) strict, without rowid;
create index omni_usage_dimensions_user_id_idx on omni_usage_dimensions (user_id, grain, start);
create index omni_usage_dimensions_start_idx on omni_usage_dimensions (meter, grain, start);

-- A row is usage that is billed in a later period than that in which it occurred.
create table omni_usage_late (
    tenant_id blob not null,
    environment text not null,
    meter text not null,
    -- The starts of the two billing periods.
    billed_in text not null,
    used_in text not null,
    sum integer not null,
    events integer not null,
    primary key (tenant_id, environment, meter, billed_in, used_in)
) strict, without rowid;

-- A row is a user or category that a window has counted, for meters that count different ones.
create table omni_usage_uniques (
    tenant_id blob not null,
    environment text not null,
    meter text not null,
    grain text not null,
    start text not null,
    value text not null,
    primary key (tenant_id, environment, meter, grain, start, value)
) strict, without rowid;
create index omni_usage_uniques_start_idx on omni_usage_uniques (grain, start) where grain in ('minute', 'hour');

-- A row is the usage of all tenants in one day of UTC, which a job adds up.
create table omni_usage_totals (
    environment text not null,
    meter text not null,
    day text not null,
    sum integer not null,
    events integer not null,
    max integer not null,
    tenants integer not null,
    primary key (environment, meter, day)
) strict;
