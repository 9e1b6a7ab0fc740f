-- Attempt counters: wrong passwords by account and by client address, mails by recipient.
create table attempts (
    -- The hash of the kind of attempt and of its subject.
    key           blob primary key not null,
    failures      integer not null,
    blocked_until text,
    last_at       text not null
) strict;

create index attempts_by_last on attempts (last_at);

create index users_by_deletion on users (delete_at) where delete_at is not null;
