-- A row is a feature flag. Definitions are JSON that the app parses. Only the overrides belong to tenants.
create table omni_flags (
    key text primary key,
    definition text not null,
    -- Revision of `omni_flag_state` at the last change.
    revision bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

-- A row is a segment: a named set of constraints.
create table omni_flag_segments (
    name text primary key,
    definition text not null,
    revision bigint not null,
    updated_at timestamptz not null
);

-- A row is one change of a flag, with its definition afterwards.
create table omni_flag_history (
    revision bigint not null,
    key text not null,
    action text not null,
    -- Null if the flag was deleted, or if only a tenant's override changed.
    definition text,
    for_tenant uuid,
    actor uuid,
    at timestamptz not null,
    primary key (key, revision)
);

-- The only row is the number of the last change. A transaction that changes flags locks it, so changes are sequential.
create table omni_flag_state (
    id bigint primary key check (id = 1),
    revision bigint not null
);
insert into omni_flag_state (id, revision) values (1, 0);

-- A row is the definition of a flag for one tenant.
create table omni_flag_overrides (
    key text not null references omni_flags (key) on delete cascade,
    tenant_id uuid not null,
    definition text not null,
    updated_at timestamptz not null,
    primary key (key, tenant_id)
);
alter table omni_flag_overrides enable row level security;
alter table omni_flag_overrides force row level security;
create policy tenant on omni_flag_overrides using (omnistack_visible(tenant_id));
