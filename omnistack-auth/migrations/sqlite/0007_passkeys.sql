-- Keys on users' devices that sign them in (WebAuthn).
create table passkeys (
    id            blob primary key not null,
    user_id       blob not null references users on delete cascade,
    -- As the device knows it; nobody else's too.
    credential_id blob not null unique,
    -- The public key, what is known of the device, and how often it has signed.
    credential    text not null,
    name          text not null,
    created_at    text not null,
    last_used_at  text
) strict;

create index passkeys_of_user on passkeys (user_id, id);
