-- A row is an export of a tenant's data, until its archive is deleted.
create table omni_exports (
    id          blob primary key not null,
    tenant_id   blob not null,
    -- The user who asked for it.
    user_id     blob not null,
    state       text not null check (state in ('waiting', 'ready', 'failed')),
    -- The size of the archive in bytes.
    size        integer,
    created_at  text not null,
    finished_at text,
    -- When the archive and the row are deleted.
    expires_at  text not null
) strict;

create index omni_exports_of_tenant on omni_exports (tenant_id, id);
create unique index omni_exports_waiting on omni_exports (tenant_id) where state = 'waiting';
create index omni_exports_by_expiry on omni_exports (expires_at);
