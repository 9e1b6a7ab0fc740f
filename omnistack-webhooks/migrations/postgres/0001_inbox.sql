-- A row is a webhook that a provider has sent to the app, and its state.
create table omni_webhooks (
    id uuid primary key,
    source text not null,
    -- `live` or `test`.
    environment text not null,
    -- The provider's id of the event, which is the same when the provider sends it again.
    event_id text not null,
    kind text not null,
    -- The tenant that the path or the payload names. Other webhooks belong to the app.
    tenant_id uuid,
    -- What the event is about. Events of one object are processed one after another.
    object text,
    occurred_at timestamptz,
    url text not null,
    -- JSON list of names and values, without credentials.
    headers text not null,
    body bytea not null,
    received_at timestamptz not null,
    status text not null check (status in ('received', 'processed', 'ignored', 'failed')),
    attempts bigint not null default 0,
    duplicates bigint not null default 0,
    last_duplicate_at timestamptz,
    replays bigint not null default 0,
    -- The error of the last attempt, if it failed.
    error text,
    processed_at timestamptz,
    processing_ms double precision,
    -- Begins with the id of the event, so that a webhook is also found by that alone.
    unique (event_id, source, environment)
);
-- Ids are ordered by time, so these indexes list the newest webhooks first.
create index omni_webhooks_source_idx on omni_webhooks (source, id);
create index omni_webhooks_tenant_id_idx on omni_webhooks (tenant_id, id) where tenant_id is not null;
create index omni_webhooks_status_idx on omni_webhooks (status, id) where status in ('received', 'failed');
create index omni_webhooks_duplicates_idx on omni_webhooks (id) where duplicates > 0;
-- A transaction of a tenant sees the webhooks of that tenant, and a transaction without a tenant those of the app.
alter table omni_webhooks enable row level security;
alter table omni_webhooks force row level security;
create policy tenant on omni_webhooks using (
    omnistack_visible(tenant_id)
    or (tenant_id is null and coalesce(current_setting('omnistack.tenant', true), '') = ''));

-- A row is a source that was asked for webhooks that it could not deliver.
create table omni_webhook_polls (
    source text primary key,
    polled_at timestamptz not null
);
