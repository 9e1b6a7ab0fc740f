-- TOTP secrets. A secret is a second factor once its first code was confirmed.
create table totp_secrets (
    user_id      blob primary key not null references users on delete cascade,
    -- The secret, sealed.
    secret       text not null,
    confirmed_at text,
    -- The 30-second time step of the code used last. Codes of this and of earlier steps are refused.
    last_step    integer,
    created_at   text not null
) strict;

-- Recovery codes. Each replaces a TOTP code once; its row is deleted when it is used.
create table recovery_codes (
    -- The hash of a code of 125 random bits.
    hash       blob primary key not null,
    user_id    blob not null references users on delete cascade,
    created_at text not null
) strict;

create index recovery_codes_of_user on recovery_codes (user_id);
