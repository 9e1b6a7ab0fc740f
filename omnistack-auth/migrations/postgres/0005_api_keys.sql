create table api_keys (
    id             uuid primary key,
    tenant_id      uuid not null references tenants on delete cascade,
    -- Who made it, and in whose name it calls.
    user_id        uuid not null references users on delete cascade,
    name           text not null,
    -- How its secret begins, for people.
    hint           text not null,
    hash           bytea not null unique,
    -- The secret before the last rotation, and until when it is good.
    previous_hash  bytea unique,
    previous_until timestamptz,
    -- Separated by spaces.
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
