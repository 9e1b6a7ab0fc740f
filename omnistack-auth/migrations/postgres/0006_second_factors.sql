-- What an app on a user's phone makes codes of; a factor once the first code was shown.
create table totp_secrets (
    user_id      uuid primary key references users on delete cascade,
    -- Sealed.
    secret       text not null,
    confirmed_at timestamptz,
    -- The 30 seconds whose code was shown last: no code of it or before is good any more.
    last_step    bigint,
    created_at   timestamptz not null
);

-- Each takes the place of a code once, and is gone then.
create table recovery_codes (
    -- Of a code of 125 random bits.
    hash       bytea primary key,
    user_id    uuid not null references users on delete cascade,
    created_at timestamptz not null
);

create index recovery_codes_of_user on recovery_codes (user_id);
