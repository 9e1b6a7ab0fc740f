-- Requests with an `Idempotency-Key`, until they expire. See the same file for PostgreSQL.
create table idempotency_keys (
    scope blob primary key,
    fingerprint blob not null,
    owner blob not null,
    -- Process of the owner. Other processes on its machine can tell from it that the owner has ended. Null if
    -- unknown.
    process text,
    locked_until text not null,
    expires_at text not null,
    -- Null while the request is processed. A status without a body: processed, but the response was not stored.
    status integer,
    head text,
    body blob
) strict;
create index idempotency_keys_expires_at_idx on idempotency_keys (expires_at);
