-- A row is a version of a plan, as the app has defined it. Customers keep the version that they have.
create table omni_plan_versions (
    key text not null,
    version integer not null,
    -- JSON.
    definition text not null,
    created_at text not null,
    primary key (key, version)
) strict;

-- The number of the last change of any account's entitlements.
create table omni_billing_state (
    id integer primary key not null check (id = 1),
    revision integer not null
) strict;
insert into omni_billing_state (id, revision) values (1, 0);

-- A row is the account of a tenant: its plan and its billing periods. A tenant without a row has the default plan and
-- calendar months.
create table omni_billing_accounts (
    tenant_id blob primary key not null,
    -- Null for the default plan.
    plan text,
    plan_version integer,
    -- The seats that were bought, in place of the plan's limit `team_members`.
    seats integer,
    -- The IANA name of the time zone.
    zone text not null,
    -- The anchor of the billing periods, and the time from which it counts. Null for calendar months.
    anchor text,
    anchored_at text,
    -- The interval of the billing periods, such as `month` or `3 months`.
    period text not null,
    -- Usage before this time is billed: later events of that time are late.
    closed_until text,
    -- The number of the last change of the entitlements.
    revision integer not null default 0,
    created_at text not null,
    updated_at text not null
) strict;
create index omni_billing_accounts_revision_idx on omni_billing_accounts (revision) where revision > 0;
create index omni_billing_accounts_plan_idx on omni_billing_accounts (plan, plan_version, tenant_id) where plan is not null;

-- A row is an earlier anchor of an account, and the time from which it counted. Its `anchor` is null for calendar months.
create table omni_billing_anchors (
    tenant_id blob not null,
    since text not null,
    zone text not null,
    anchor text,
    period text not null,
    primary key (tenant_id, since)
) strict;

-- A row is a feature or a limit that a tenant has in place of that of its plan.
create table omni_plan_overrides (
    id blob primary key not null,
    tenant_id blob not null,
    kind text not null check (kind in ('feature', 'limit')),
    -- The name of the feature or of the limit.
    name text not null,
    -- Of a feature: 1 if it is included, else 0. Of a limit: the limit, or null for unlimited.
    value integer,
    reason text not null,
    created_by blob not null,
    created_at text not null,
    expires_at text,
    unique (tenant_id, kind, name)
) strict;
create index omni_plan_overrides_expires_at_idx on omni_plan_overrides (expires_at) where expires_at is not null;
