create table files (
    id           uuid primary key,
    tenant_id    uuid not null,
    user_id      uuid not null,
    name         text not null,
    content_type text not null,
    -- The size in bytes; of an upload that is not complete, the reserved bytes.
    size         bigint not null,
    -- 64 hexadecimal digits.
    sha256       text,
    state        text not null check (state in ('receiving', 'awaited', 'stored')),
    created_at   timestamptz not null,
    stored_at    timestamptz,
    deleted_at   timestamptz,
    -- The deadline of an upload that is not complete.
    pending_until timestamptz,
    -- The storage class; null for the default class.
    storage_class text
);

create index files_of_tenant on files (tenant_id, id);
create index files_pending on files (pending_until) where state <> 'stored';
create index files_unfinished on files (tenant_id, pending_until) where state <> 'stored';
create index files_deleted_of_tenant on files (tenant_id, id) where deleted_at is not null;
create index files_deleted on files (deleted_at) where deleted_at is not null;
-- For the files to archive, oldest first.
create index files_by_age on files (created_at, id) where state = 'stored' and storage_class is null;

-- The bytes that each tenant stores, including reserved ones.
create table file_usage (
    tenant_id uuid primary key,
    bytes     bigint not null
);

-- The idempotency keys of uploads: the SHA-256 of user and key, and the file and request each is bound to.
create table file_upload_keys (
    tenant_id   uuid not null,
    scope       bytea not null,
    file_id     uuid not null references files on delete cascade,
    fingerprint bytea not null,
    expires_at  timestamptz not null,
    primary key (tenant_id, scope)
);

create index file_upload_keys_file on file_upload_keys (file_id);
create index file_upload_keys_expired on file_upload_keys (expires_at);

alter table files enable row level security;
alter table files force row level security;
create policy tenant on files using (omnistack_visible(tenant_id));

alter table file_usage enable row level security;
alter table file_usage force row level security;
create policy tenant on file_usage using (omnistack_visible(tenant_id));

alter table file_upload_keys enable row level security;
alter table file_upload_keys force row level security;
create policy tenant on file_upload_keys using (omnistack_visible(tenant_id));
