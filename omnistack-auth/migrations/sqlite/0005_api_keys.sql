create table api_keys (
    id             blob primary key not null,
    tenant_id      blob not null references tenants on delete cascade,
    -- The user who created the key, and in whose name it calls.
    user_id        blob not null references users on delete cascade,
    name           text not null,
    -- The beginning of the secret, to recognise the key by.
    hint           text not null,
    hash           blob not null unique,
    -- The hash of the secret before the last rotation, and the time until which it is valid.
    previous_hash  blob unique,
    previous_until text,
    -- Permissions, separated by spaces.
    scopes         text not null,
    last_used_at   text,
    created_at     text not null,
    rotated_at     text not null,
    expires_at     text
) strict;

create index api_keys_of_tenant on api_keys (tenant_id, id);
create index api_keys_of_user on api_keys (user_id);
create index api_keys_by_expiry on api_keys (expires_at) where expires_at is not null;
