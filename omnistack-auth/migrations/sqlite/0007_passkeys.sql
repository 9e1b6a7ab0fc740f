-- Passkeys (WebAuthn).
create table passkeys (
    id            blob primary key not null,
    user_id       blob not null references users on delete cascade,
    -- The credential id of the device.
    credential_id blob not null unique,
    -- The public key, the properties of the device, and its signature counter.
    credential    text not null,
    name          text not null,
    created_at    text not null,
    last_used_at  text
) strict;

create index passkeys_of_user on passkeys (user_id, id);
