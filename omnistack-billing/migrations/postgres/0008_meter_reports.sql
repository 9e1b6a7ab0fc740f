-- A row is the part of a day's usage that is in reports to a payment provider. The columns of the key are compared as
-- those of `omni_usage_windows` are: otherwise, a join with windows can't use the index.
create table omni_meter_days (
    tenant_id uuid not null,
    environment text collate "C" not null,
    meter text collate "C" not null,
    -- The start of the day of UTC.
    day timestamptz not null,
    -- In the smallest units of the meter.
    reported bigint not null,
    primary key (tenant_id, environment, meter, day)
);
create index omni_meter_days_day_idx on omni_meter_days (day);
alter table omni_meter_days enable row level security;
alter table omni_meter_days force row level security;
create policy tenant on omni_meter_days using (omnistack_visible(tenant_id));

-- A row is the usage that no report could say, because it is less than the smallest number that a provider accepts. It
-- is in the next report.
create table omni_meter_remainders (
    tenant_id uuid not null,
    environment text not null,
    meter text not null,
    -- A fraction of 10^-12 of the provider's unit.
    numerator bigint not null,
    denominator bigint not null,
    primary key (tenant_id, environment, meter)
);
alter table omni_meter_remainders enable row level security;
alter table omni_meter_remainders force row level security;
create policy tenant on omni_meter_remainders using (omnistack_visible(tenant_id));

-- A row is a report of usage to a payment provider, which bills it.
create table omni_meter_reports (
    -- It is also the order in which reports are sent.
    id uuid primary key,
    tenant_id uuid not null,
    environment text not null,
    meter text not null,
    provider text not null,
    -- The name of the meter and the id of the customer at the provider.
    provider_meter text not null,
    customer text not null,
    -- A decimal number with at most 12 decimals.
    value text not null,
    -- By it the provider counts the report once.
    identifier text not null unique,
    -- When the usage took place.
    at timestamptz not null,
    -- `pending`, `unknown` (sent, and perhaps counted), `sent`, `failed`, or `unresolved` (unknown for too long to be
    -- sent again).
    state text not null check (state in ('pending', 'unknown', 'sent', 'failed', 'unresolved')),
    attempts integer not null,
    first_attempt_at timestamptz,
    next_attempt_at timestamptz not null,
    error text,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index omni_meter_reports_due_idx on omni_meter_reports (provider, next_attempt_at, id)
    where state in ('pending', 'unknown');
create index omni_meter_reports_state_idx on omni_meter_reports (state, id);
create index omni_meter_reports_tenant_id_idx on omni_meter_reports (tenant_id, id);
create index omni_meter_reports_updated_at_idx on omni_meter_reports (updated_at) where state = 'sent';
alter table omni_meter_reports enable row level security;
alter table omni_meter_reports force row level security;
create policy tenant on omni_meter_reports using (omnistack_visible(tenant_id));
