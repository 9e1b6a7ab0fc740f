-- A row is a part of a limit that is held for work that is not done yet. Its units are in `reserved` of its window. The
-- columns of the window's key are compared as the window's are: otherwise, a join with windows can't use the index.
create table omni_usage_reservations (
    id uuid primary key,
    tenant_id uuid not null,
    environment text collate "C" not null,
    meter text collate "C" not null,
    -- The window that it is a part of: `period` or `total`, and its start.
    grain text collate "C" not null,
    start timestamptz not null,
    units bigint not null check (units >= 0),
    created_at timestamptz not null,
    expires_at timestamptz not null
);
create index omni_usage_reservations_expires_at_idx on omni_usage_reservations (expires_at);
create index omni_usage_reservations_window_idx on omni_usage_reservations (tenant_id, environment, meter, grain, start, expires_at);
alter table omni_usage_reservations enable row level security;
alter table omni_usage_reservations force row level security;
create policy tenant on omni_usage_reservations using (omnistack_visible(tenant_id));

-- A row is a share of a limit that a tenant has reached and been told of.
create table omni_usage_alerts (
    tenant_id uuid not null,
    environment text not null,
    meter text not null,
    -- The start of the billing period; 1970 for a lifetime meter.
    period_start timestamptz not null,
    -- In percent: 80 or 100.
    threshold integer not null,
    limit_units bigint not null,
    at timestamptz not null,
    primary key (tenant_id, environment, meter, period_start, threshold)
);
alter table omni_usage_alerts enable row level security;
alter table omni_usage_alerts force row level security;
create policy tenant on omni_usage_alerts using (omnistack_visible(tenant_id));
