-- A row is a request with an `Idempotency-Key`, until it expires.
--
-- The table belongs to no tenant and has no policy: a row is found by a hash of tenant, caller, method, path and
-- key together, and can't be requested without knowing all five. None of them is stored in plain text.
create table omni_idempotency_keys (
    scope bytea primary key,
    fingerprint bytea not null,
    owner uuid not null,
    -- Process of the owner. Other processes on its machine can tell from it that the owner has ended. Null if
    -- unknown.
    process text,
    locked_until timestamptz not null,
    expires_at timestamptz not null,
    -- Null while the request is processed. A status without a body: processed, but the response was not stored.
    status integer,
    head jsonb,
    body bytea
);
create index omni_idempotency_keys_expires_at_idx on omni_idempotency_keys (expires_at);
