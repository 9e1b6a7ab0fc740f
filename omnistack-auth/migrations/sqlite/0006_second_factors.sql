-- What an app on a user's phone makes codes of; a factor once the first code was shown.
create table totp_secrets (
    user_id      blob primary key not null references users on delete cascade,
    -- Sealed.
    secret       text not null,
    confirmed_at text,
    -- The 30 seconds whose code was shown last: no code of it or before is good any more.
    last_step    integer,
    created_at   text not null
) strict;

-- Each takes the place of a code once, and is gone then.
create table recovery_codes (
    -- Of a code of 125 random bits.
    hash       blob primary key not null,
    user_id    blob not null references users on delete cascade,
    created_at text not null
) strict;

create index recovery_codes_of_user on recovery_codes (user_id);
