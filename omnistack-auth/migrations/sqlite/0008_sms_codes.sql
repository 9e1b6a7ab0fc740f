-- Numbers that get codes by text message; a factor once the first code was typed in.
create table sms_code_phones (
    user_id      blob primary key not null references users on delete cascade,
    number       text not null,
    confirmed_at text,
    created_at   text not null,
    -- The code that is on its way, if one is: what it is hashed with, sealed; its hash; how often it was guessed wrong.
    code_key     text,
    code_hash    blob,
    code_tries   integer not null default 0,
    code_until   text
) strict;

-- How many were sent to a user, or to a number, since when.
create table sms_code_sends (
    key   blob primary key not null,
    since text not null,
    sent  integer not null
) strict;

create index sms_code_sends_since on sms_code_sends (since);
