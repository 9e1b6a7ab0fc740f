-- A row is a part of a limit that is held for work that is not done yet. Its units are in `reserved` of its window.
create table omni_usage_reservations (
    id blob primary key not null,
    tenant_id blob not null,
    environment text not null,
    meter text not null,
    -- The window that it is a part of: `period` or `total`, and its start.
    grain text not null,
    start text not null,
    units integer not null check (units >= 0),
    created_at text not null,
    expires_at text not null
) strict;
create index omni_usage_reservations_expires_at_idx on omni_usage_reservations (expires_at);
create index omni_usage_reservations_window_idx on omni_usage_reservations (tenant_id, environment, meter, grain, start, expires_at);

-- A row is a share of a limit that a tenant has reached and been told of.
create table omni_usage_alerts (
    tenant_id blob not null,
    environment text not null,
    meter text not null,
    -- The start of the billing period; 1970 for a lifetime meter.
    period_start text not null,
    -- In percent: 80 or 100.
    threshold integer not null,
    limit_units integer not null,
    at text not null,
    primary key (tenant_id, environment, meter, period_start, threshold)
) strict;
