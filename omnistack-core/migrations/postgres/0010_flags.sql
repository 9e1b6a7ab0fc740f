-- Feature flags. Definitions are JSON that the app parses. Only the overrides belong to tenants.
create table flags (
    key text primary key,
    definition text not null,
    -- Revision of `flag_state` at the last change.
    revision bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

-- Named sets of constraints.
create table flag_segments (
    name text primary key,
    definition text not null,
    revision bigint not null,
    updated_at timestamptz not null
);

-- The definition of a flag after each change.
create table flag_history (
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

-- One row: the number of the last change. A transaction that changes flags locks it, so changes are sequential.
create table flag_state (
    id bigint primary key check (id = 1),
    revision bigint not null
);
insert into flag_state (id, revision) values (1, 0);

create table flag_overrides (
    key text not null references flags (key) on delete cascade,
    tenant_id uuid not null,
    definition text not null,
    updated_at timestamptz not null,
    primary key (key, tenant_id)
);
alter table flag_overrides enable row level security;
alter table flag_overrides force row level security;
create policy tenant on flag_overrides using (omnistack_visible(tenant_id));
