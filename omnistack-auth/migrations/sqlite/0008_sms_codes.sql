-- Phone numbers for SMS codes. A number is a second factor once its first code was confirmed.
create table sms_code_phones (
    user_id      blob primary key not null references users on delete cascade,
    number       text not null,
    confirmed_at text,
    created_at   text not null,
    -- The code that was sent, if any: the key of its hash, sealed; the hash; the number of wrong guesses; its expiry.
    code_key     text,
    code_hash    blob,
    code_tries   integer not null default 0,
    code_until   text
) strict;

-- The number of messages sent to a user or a phone number since a time.
create table sms_code_sends (
    key   blob primary key not null,
    since text not null,
    sent  integer not null
) strict;

create index sms_code_sends_since on sms_code_sends (since);
