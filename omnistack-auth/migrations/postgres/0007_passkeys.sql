-- Passkeys (WebAuthn).
create table passkeys (
    id            uuid primary key,
    user_id       uuid not null references users on delete cascade,
    -- The credential id of the device.
    credential_id bytea not null unique,
    -- The public key, the properties of the device, and its signature counter.
    credential    text not null,
    name          text not null,
    created_at    timestamptz not null,
    last_used_at  timestamptz
);

create index passkeys_of_user on passkeys (user_id, id);
