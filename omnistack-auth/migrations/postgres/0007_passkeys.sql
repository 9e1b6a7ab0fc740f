-- Keys on users' devices that sign them in (WebAuthn).
create table passkeys (
    id            uuid primary key,
    user_id       uuid not null references users on delete cascade,
    -- As the device knows it; nobody else's too.
    credential_id bytea not null unique,
    -- The public key, what is known of the device, and how often it has signed.
    credential    text not null,
    name          text not null,
    created_at    timestamptz not null,
    last_used_at  timestamptz
);

create index passkeys_of_user on passkeys (user_id, id);
