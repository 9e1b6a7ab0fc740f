-- Attempt counters: wrong passwords by account and by client address, mails by recipient.
create table attempts (
    -- The hash of the kind of attempt and of its subject.
    key           bytea primary key,
    failures      bigint not null,
    blocked_until timestamptz,
    last_at       timestamptz not null
);

create index attempts_by_last on attempts (last_at);

create index users_by_deletion on users (delete_at) where delete_at is not null;
