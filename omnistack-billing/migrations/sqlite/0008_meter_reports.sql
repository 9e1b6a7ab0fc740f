-- A row is the part of a day's usage that is in reports to a payment provider.
create table omni_meter_days (
    tenant_id blob not null,
    environment text not null,
    meter text not null,
    -- The start of the day of UTC.
    day text not null,
    -- In the smallest units of the meter.
    reported integer not null,
    primary key (tenant_id, environment, meter, day)
) strict;
create index omni_meter_days_day_idx on omni_meter_days (day);

-- A row is the usage that no report could say, because it is less than the smallest number that a provider accepts. It
-- is in the next report.
create table omni_meter_remainders (
    tenant_id blob not null,
    environment text not null,
    meter text not null,
    -- A fraction of 10^-12 of the provider's unit.
    numerator integer not null,
    denominator integer not null,
    primary key (tenant_id, environment, meter)
) strict;

-- A row is a report of usage to a payment provider, which bills it.
create table omni_meter_reports (
    -- It is also the order in which reports are sent.
    id blob primary key not null,
    tenant_id blob not null,
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
    at text not null,
    -- `pending`, `unknown` (sent, and perhaps counted), `sent`, `failed`, or `unresolved` (unknown for too long to be
    -- sent again).
    state text not null check (state in ('pending', 'unknown', 'sent', 'failed', 'unresolved')),
    attempts integer not null,
    first_attempt_at text,
    next_attempt_at text not null,
    error text,
    created_at text not null,
    updated_at text not null
) strict;
create index omni_meter_reports_due_idx on omni_meter_reports (provider, next_attempt_at, id)
    where state in ('pending', 'unknown');
create index omni_meter_reports_state_idx on omni_meter_reports (state, id);
create index omni_meter_reports_tenant_id_idx on omni_meter_reports (tenant_id, id);
create index omni_meter_reports_updated_at_idx on omni_meter_reports (updated_at) where state = 'sent';
