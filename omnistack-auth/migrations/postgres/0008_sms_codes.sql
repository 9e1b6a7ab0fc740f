-- Phone numbers for SMS codes. A number is a second factor once its first code was confirmed.
create table sms_code_phones (
    user_id      uuid primary key references users on delete cascade,
    number       text not null,
    confirmed_at timestamptz,
    created_at   timestamptz not null,
    -- The code that was sent, if any: the key of its hash, sealed; the hash; the number of wrong guesses; its expiry.
    code_key     text,
    code_hash    bytea,
    code_tries   bigint not null default 0,
    code_until   timestamptz
);

-- The number of messages sent to a user or a phone number since a time.
create table sms_code_sends (
    key   bytea primary key,
    since timestamptz not null,
    sent  bigint not null
);

create index sms_code_sends_since on sms_code_sends (since);
