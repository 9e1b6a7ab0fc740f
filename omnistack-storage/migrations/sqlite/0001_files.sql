-- A row is a file of a tenant, or an upload that is not complete.
create table omni_files (
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
    storage_class text,
    -- The tags, as a JSON list.
    tags          text not null default '[]',
    archived_at   text,
    -- For a file in an external archive: the days for which it is being restored; 0 while its copy in the main
    -- storage is being deleted.
    restoring     integer,
    -- Until when the copy in the main storage can be read.
    restored_until text
) strict;

create index omni_files_of_tenant on omni_files (tenant_id, id);
create index omni_files_pending on omni_files (pending_until) where state <> 'stored';
create index omni_files_unfinished on omni_files (tenant_id, pending_until) where state <> 'stored';
create index omni_files_deleted_of_tenant on omni_files (tenant_id, id) where deleted_at is not null;
create index omni_files_deleted on omni_files (deleted_at) where deleted_at is not null;
-- For the files to archive, oldest first.
create index omni_files_by_age on omni_files (created_at, id) where state = 'stored' and storage_class is null;
create index omni_files_archived on omni_files (archived_at) where archived_at is not null;
create index omni_files_restored on omni_files (restored_until) where restored_until is not null or restoring = 0;

-- A row is the number of bytes that a tenant stores, including reserved ones.
create table omni_file_usage (
    tenant_id blob primary key not null,
    bytes     integer not null
) strict;

-- A row is the idempotency key of an upload: the SHA-256 of user and key, and the file and request it is bound to.
create table omni_file_upload_keys (
    tenant_id   blob not null,
    scope       blob not null,
    file_id     blob not null references omni_files on delete cascade,
    fingerprint blob not null,
    expires_at  text not null,
    primary key (tenant_id, scope)
) strict;

create index omni_file_upload_keys_file on omni_file_upload_keys (file_id);
create index omni_file_upload_keys_expired on omni_file_upload_keys (expires_at);
