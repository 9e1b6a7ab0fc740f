-- A row is a feature flag. Definitions are JSON that the app parses. Only the overrides belong to tenants.
create table omni_flags (
    key text primary key not null,
    definition text not null,
    -- Revision of `omni_flag_state` at the last change.
    revision integer not null,
    created_at text not null,
    updated_at text not null
) strict;

-- A row is a segment: a named set of constraints.
create table omni_flag_segments (
    name text primary key not null,
    definition text not null,
    revision integer not null,
    updated_at text not null
) strict;

-- A row is one change of a flag, with its definition afterwards.
create table omni_flag_history (
    revision integer not null,
    key text not null,
    action text not null,
    -- Null if the flag was deleted, or if only a tenant's override changed.
    definition text,
    for_tenant blob,
    actor blob,
    at text not null,
    primary key (key, revision)
) strict;

-- The only row is the number of the last change.
create table omni_flag_state (
    id integer primary key check (id = 1),
    revision integer not null
) strict;
insert into omni_flag_state (id, revision) values (1, 0);

-- A row is the definition of a flag for one tenant.
create table omni_flag_overrides (
    key text not null references omni_flags (key) on delete cascade,
    tenant_id blob not null,
    definition text not null,
    updated_at text not null,
    primary key (key, tenant_id)
) strict;
