create table files (
    id           blob primary key not null,
    tenant_id    blob not null,
    user_id      blob not null,
    name         text not null,
    content_type text not null,
    -- The size in bytes; of an upload that is not complete, the reserved bytes.
    size         integer not null,
    -- 64 hexadecimal digits.
    sha256       text,
    state        text not null check (state in ('receiving', 'awaited', 'stored')),
    created_at   text not null,
    stored_at    text,
    deleted_at   text,
    -- The deadline of an upload that is not complete.
    pending_until text,
    -- The storage class; null for the default class.
    storage_class text
) strict;

create index files_of_tenant on files (tenant_id, id);
create index files_pending on files (pending_until) where state <> 'stored';
create index files_unfinished on files (tenant_id, pending_until) where state <> 'stored';
create index files_deleted_of_tenant on files (tenant_id, id) where deleted_at is not null;
create index files_deleted on files (deleted_at) where deleted_at is not null;
-- For the files to archive, oldest first.
create index files_by_age on files (created_at, id) where state = 'stored' and storage_class is null;

-- The bytes that each tenant stores, including reserved ones.
create table file_usage (
    tenant_id blob primary key not null,
    bytes     integer not null
) strict;

-- The idempotency keys of uploads: the SHA-256 of user and key, and the file and request each is bound to.
create table file_upload_keys (
    tenant_id   blob not null,
    scope       blob not null,
    file_id     blob not null references files on delete cascade,
    fingerprint blob not null,
    expires_at  text not null,
    primary key (tenant_id, scope)
) strict;

create index file_upload_keys_file on file_upload_keys (file_id);
create index file_upload_keys_expired on file_upload_keys (expires_at);
