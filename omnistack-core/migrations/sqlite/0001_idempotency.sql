-- A row is a request with an `Idempotency-Key`, until it expires. The table belongs to no tenant.
create table omni_idempotency_keys (
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
create index omni_idempotency_keys_expires_at_idx on omni_idempotency_keys (expires_at);
