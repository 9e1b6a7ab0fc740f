-- A row is an export of a tenant's data, until its archive is deleted.
create table omni_exports (
    id          uuid primary key,
    tenant_id   uuid not null,
    -- The user who asked for it.
    user_id     uuid not null,
    state       text not null check (state in ('waiting', 'ready', 'failed')),
    -- The size of the archive in bytes.
    size        bigint,
    created_at  timestamptz not null,
    finished_at timestamptz,
    -- When the archive and the row are deleted.
    expires_at  timestamptz not null
);

create index omni_exports_of_tenant on omni_exports (tenant_id, id);
create unique index omni_exports_waiting on omni_exports (tenant_id) where state = 'waiting';
create index omni_exports_by_expiry on omni_exports (expires_at);
alter table omni_exports enable row level security;
alter table omni_exports force row level security;
create policy tenant on omni_exports using (omnistack_visible(tenant_id));
