-- A row is a version of a plan, as the app has defined it. Customers keep the version that they have.
create table omni_plan_versions (
    key text not null,
    version integer not null,
    -- JSON.
    definition text not null,
    created_at timestamptz not null,
    primary key (key, version)
);

-- The number of the last change of any account's entitlements.
create table omni_billing_state (
    id integer primary key check (id = 1),
    revision bigint not null
);
insert into omni_billing_state (id, revision) values (1, 0);

-- A row is the account of a tenant: its plan and its billing periods. A tenant without a row has the default plan and
-- calendar months.
create table omni_billing_accounts (
    tenant_id uuid primary key,
    -- Null for the default plan.
    plan text,
    plan_version integer,
    -- The seats that were bought, in place of the plan's limit `team_members`.
    seats bigint,
    -- The IANA name of the time zone.
    zone text not null,
    -- The anchor of the billing periods, and the time from which it counts. Null for calendar months.
    anchor timestamptz,
    anchored_at timestamptz,
    -- The interval of the billing periods, such as `month` or `3 months`.
    period text not null,
    -- Usage before this time is billed: later events of that time are late.
    closed_until timestamptz,
    -- The number of the last change of the entitlements.
    revision bigint not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index omni_billing_accounts_revision_idx on omni_billing_accounts (revision) where revision > 0;
create index omni_billing_accounts_plan_idx on omni_billing_accounts (plan, plan_version, tenant_id) where plan is not null;
alter table omni_billing_accounts enable row level security;
alter table omni_billing_accounts force row level security;
create policy tenant on omni_billing_accounts using (omnistack_visible(tenant_id));

-- A row is an earlier anchor of an account, and the time from which it counted. Its `anchor` is null for calendar months.
create table omni_billing_anchors (
    tenant_id uuid not null,
    since timestamptz not null,
    zone text not null,
    anchor timestamptz,
    period text not null,
    primary key (tenant_id, since)
);
alter table omni_billing_anchors enable row level security;
alter table omni_billing_anchors force row level security;
create policy tenant on omni_billing_anchors using (omnistack_visible(tenant_id));

-- A row is a feature or a limit that a tenant has in place of that of its plan.
create table omni_plan_overrides (
    id uuid primary key,
    tenant_id uuid not null,
    kind text not null check (kind in ('feature', 'limit')),
    -- The name of the feature or of the limit.
    name text not null,
    -- Of a feature: 1 if it is included, else 0. Of a limit: the limit, or null for unlimited.
    value bigint,
    reason text not null,
    created_by uuid not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    unique (tenant_id, kind, name)
);
create index omni_plan_overrides_expires_at_idx on omni_plan_overrides (expires_at) where expires_at is not null;
alter table omni_plan_overrides enable row level security;
alter table omni_plan_overrides force row level security;
create policy tenant on omni_plan_overrides using (omnistack_visible(tenant_id));
