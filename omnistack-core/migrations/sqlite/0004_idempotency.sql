-- Requests that carried an `Idempotency-Key`, until they are forgotten. See the same file for PostgreSQL.
create table idempotency_keys (
    scope blob primary key,
    fingerprint blob not null,
    owner blob not null,
    -- That of the owner, by which others of its machine know that it is dead. Null where it can't be known.
    process text,
    locked_until text not null,
    expires_at text not null,
    -- Null while the request is carried out. A status without a body: carried out, and the answer was not kept.
    status integer,
    head text,
    body blob
) strict;
create index idempotency_keys_expires_at_idx on idempotency_keys (expires_at);
