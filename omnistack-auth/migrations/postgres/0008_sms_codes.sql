-- Numbers that get codes by text message; a factor once the first code was typed in.
create table sms_code_phones (
    user_id      uuid primary key references users on delete cascade,
    number       text not null,
    confirmed_at timestamptz,
    created_at   timestamptz not null,
    -- The code that is on its way, if one is: what it is hashed with, sealed; its hash; how often it was guessed wrong.
    code_key     text,
    code_hash    bytea,
    code_tries   bigint not null default 0,
    code_until   timestamptz
);

-- How many were sent to a user, or to a number, since when.
create table sms_code_sends (
    key   bytea primary key,
    since timestamptz not null,
    sent  bigint not null
);

create index sms_code_sends_since on sms_code_sends (since);
