-- TOTP secrets. A secret is a second factor once its first code was confirmed.
create table totp_secrets (
    user_id      uuid primary key references users on delete cascade,
    -- The secret, sealed.
    secret       text not null,
    confirmed_at timestamptz,
    -- The 30-second time step of the code used last. Codes of this and of earlier steps are refused.
    last_step    bigint,
    created_at   timestamptz not null
);

-- Recovery codes. Each replaces a TOTP code once; its row is deleted when it is used.
create table recovery_codes (
    -- The hash of a code of 125 random bits.
    hash       bytea primary key,
    user_id    uuid not null references users on delete cascade,
    created_at timestamptz not null
);

create index recovery_codes_of_user on recovery_codes (user_id);
