-- Requests that carried an `Idempotency-Key`, until they are forgotten.
--
-- No tenant's table, so without a policy: a row is found by a hash of tenant, caller, method, path and key together, and
-- whoever does not know all five can't ask for it. Nothing of them is stored in plain.
create table idempotency_keys (
    scope bytea primary key,
    fingerprint bytea not null,
    owner uuid not null,
    -- That of the owner, by which others of its machine know that it is dead. Null where it can't be known.
    process text,
    locked_until timestamptz not null,
    expires_at timestamptz not null,
    -- Null while the request is carried out. A status without a body: carried out, and the answer was not kept.
    status integer,
    head jsonb,
    body bytea
);
create index idempotency_keys_expires_at_idx on idempotency_keys (expires_at);
