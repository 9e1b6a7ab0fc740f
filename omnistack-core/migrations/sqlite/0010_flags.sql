-- See the same file for PostgreSQL.
create table flags (
    key text primary key not null,
    definition text not null,
    -- That of `flag_state` when it was last changed.
    revision integer not null,
    created_at text not null,
    updated_at text not null
) strict;

-- Constraints under a name.
create table flag_segments (
    name text primary key not null,
    definition text not null,
    revision integer not null,
    updated_at text not null
) strict;

-- What each change made of a flag.
create table flag_history (
    revision integer not null,
    key text not null,
    action text not null,
    -- Null when the flag was removed, or only a tenant's override changed.
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
