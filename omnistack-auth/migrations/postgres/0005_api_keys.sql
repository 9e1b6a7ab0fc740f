create table api_keys (
    id             uuid primary key,
    tenant_id      uuid not null references tenants on delete cascade,
    -- The user who created the key, and in whose name it calls.
    user_id        uuid not null references users on delete cascade,
    name           text not null,
    -- The beginning of the secret, to recognise the key by.
    hint           text not null,
    hash           bytea not null unique,
    -- The hash of the secret before the last rotation, and the time until which it is valid.
    previous_hash  bytea unique,
    previous_until timestamptz,
    -- Permissions, separated by spaces.
    scopes         text not null,
    last_used_at   timestamptz,
    created_at     timestamptz not null,
    rotated_at     timestamptz not null,
    expires_at     timestamptz
);

create index api_keys_of_tenant on api_keys (tenant_id, id);
create index api_keys_of_user on api_keys (user_id);
create index api_keys_by_expiry on api_keys (expires_at) where expires_at is not null;

alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy tenant on api_keys using (omnistack_visible(tenant_id));
