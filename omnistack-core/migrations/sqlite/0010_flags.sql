-- See the same file for PostgreSQL.
create table flags (
    key text primary key not null,
    definition text not null,
    -- Revision of `flag_state` at the last change.
    revision integer not null,
    created_at text not null,
    updated_at text not null
) strict;

-- Named sets of constraints.
create table flag_segments (
    name text primary key not null,
    definition text not null,
    revision integer not null,
    updated_at text not null
) strict;

-- The definition of a flag after each change.
create table flag_history (
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

-- One row: the number of the last change.
create table flag_state (
    id integer primary key check (id = 1),
    revision integer not null
) strict;
insert into flag_state (id, revision) values (1, 0);

create table flag_overrides (
    key text not null references flags (key) on delete cascade,
    tenant_id blob not null,
    definition text not null,
    updated_at text not null,
    primary key (key, tenant_id)
) strict;
