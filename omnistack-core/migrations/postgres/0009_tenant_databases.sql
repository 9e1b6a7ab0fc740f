-- For apps in which each tenant has a separate database (`TENANT_DATABASE_URL`). Every database has these tables.

-- In the app's database: the tenants that have a database.
create table tenant_databases (
    tenant_id uuid primary key,
    made_at timestamptz not null,
    -- When the tenant was deleted: its database is to be removed and is never created again.
    left_at timestamptz,
    removed_at timestamptz
);
create index tenant_databases_leaving on tenant_databases (left_at) where removed_at is null;

-- In a tenant database, rows that belong to the app (jobs, events, emails); in the app's database, rows that
-- belong to a tenant (audit entries). They are written in the transaction they belong to, and relayed after its
-- commit.
create table tenant_outbox (
    seq bigint generated always as identity primary key,
    tenant_id uuid not null,
    kind text not null,
    content text not null,
    created_at timestamptz not null
);
create index tenant_outbox_of_tenant on tenant_outbox (tenant_id, seq);
-- May also be inserted by transactions that can't read it, like audit entries.
alter table tenant_outbox enable row level security;
alter table tenant_outbox force row level security;
create policy tenant on tenant_outbox using (omnistack_visible(tenant_id));
create policy record on tenant_outbox for insert with check (omnistack_may_record(tenant_id));

-- In a tenant database: the relayed rows that were processed, so that each is processed once.
create table tenant_inbox (
    id uuid not null,
    receiver text not null,
    created_at timestamptz not null,
    primary key (id, receiver)
);
create index tenant_inbox_created_at_idx on tenant_inbox (created_at);
