-- A row is an endpoint of a tenant: a URL to which messages are sent.
create table omni_webhook_endpoints (
    id blob primary key not null,
    tenant_id blob not null,
    url text not null,
    description text not null,
    -- JSON array of types; `["*"]` for all.
    events text not null,
    -- Custom headers as a JSON object, sealed; null if there are none.
    headers text,
    scheme text not null check (scheme in ('v1', 'v1a')),
    -- JSON list of secrets, each with the time at which it expires, the newest first; sealed.
    secrets text not null,
    rate_per_second integer,
    status text not null check (status in ('enabled', 'paused', 'disabled')),
    disabled_reason text,
    disabled_at text,
    -- First failure since the last success.
    failing_since text,
    -- Whether it is the endpoint of `PUT /configure`.
    is_default integer not null default 0,
    created_by blob,
    created_at text not null,
    updated_at text not null,
    -- Counts leases. A process with an older lease sends nothing more to the endpoint.
    lease integer not null default 0,
    lease_until text
) strict;
create index omni_webhook_endpoints_of_tenant on omni_webhook_endpoints (tenant_id, id);
create index omni_webhook_endpoints_of_status on omni_webhook_endpoints (status, id);
create unique index omni_webhook_endpoints_default on omni_webhook_endpoints (tenant_id) where is_default;

-- A row is an event that was published, whether or not an endpoint receives it.
create table omni_webhook_messages (
    id blob primary key not null,
    tenant_id blob not null,
    kind text not null,
    version integer not null,
    -- The body of the requests, byte for byte.
    payload text not null,
    idempotency_key text,
    -- `traceparent` and `tracestate` of the trace in which the message was published.
    trace text,
    trace_state text,
    created_at text not null
) strict;
create index omni_webhook_messages_of_tenant on omni_webhook_messages (tenant_id, id);
create index omni_webhook_messages_created_at on omni_webhook_messages (created_at);
create unique index omni_webhook_messages_idempotency_key on omni_webhook_messages (tenant_id, idempotency_key)
    where idempotency_key is not null;

-- A row is a message for an endpoint, and what became of it.
create table omni_webhook_deliveries (
    id blob primary key not null,
    tenant_id blob not null,
    -- Without a foreign key: publishing locks no endpoint, and many deliveries are deleted in several transactions.
    endpoint_id blob not null,
    message_id blob not null references omni_webhook_messages on delete cascade,
    state text not null check (state in ('pending', 'sending', 'delivered', 'failed', 'skipped')),
    -- Attempts since the delivery was created or last retried.
    attempts integer not null default 0,
    -- When the next attempt is due.
    next_at text,
    -- Until when a process has time for the attempt that it has begun.
    lease_until text,
    -- Result of the last attempt.
    status_code integer,
    error text,
    created_at text not null,
    finished_at text,
    unique (endpoint_id, message_id)
) strict;
create index omni_webhook_deliveries_due on omni_webhook_deliveries (endpoint_id, next_at)
    where state in ('pending', 'sending');
create index omni_webhook_deliveries_of_message on omni_webhook_deliveries (message_id);
create index omni_webhook_deliveries_of_tenant on omni_webhook_deliveries (tenant_id, message_id, id);
create index omni_webhook_deliveries_of_state on omni_webhook_deliveries (tenant_id, state, message_id, id)
    where state <> 'delivered';
create index omni_webhook_deliveries_failed on omni_webhook_deliveries (id) where state = 'failed';

-- A row is an attempt to send a delivery.
create table omni_webhook_attempts (
    delivery_id blob not null references omni_webhook_deliveries on delete cascade,
    tenant_id blob not null,
    -- Counted from 1. A retry continues the count.
    number integer not null,
    at text not null,
    duration_ms real not null,
    status_code integer,
    error text,
    -- First 16 KiB of the response's body.
    response text,
    primary key (delivery_id, number)
) strict;
