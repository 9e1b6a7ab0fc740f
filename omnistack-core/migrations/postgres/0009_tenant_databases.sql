-- For apps in which each tenant has a database of its own (`TENANT_DATABASE_URL`). Every database has these tables.

-- In the app's database: which tenants have one.
create table tenant_databases (
    tenant_id uuid primary key,
    made_at timestamptz not null,
    -- The tenant is gone: its database is to be removed, and never made again.
    left_at timestamptz,
    removed_at timestamptz
);
create index tenant_databases_leaving on tenant_databases (left_at) where removed_at is null;

-- In a tenant's database what belongs to the app's (jobs, events, mails), in the app's what belongs to a tenant's (audit
-- entries): written with the rows it is about, and carried over as soon as they are there.
create table tenant_outbox (
    seq bigint generated always as identity primary key,
    tenant_id uuid not null,
    kind text not null,
    content text not null,
    created_at timestamptz not null
);
create index tenant_outbox_of_tenant on tenant_outbox (tenant_id, seq);
-- Put there also by transactions that can't read it, as audit entries are.
alter table tenant_outbox enable row level security;
alter table tenant_outbox force row level security;
create policy tenant on tenant_outbox using (omnistack_visible(tenant_id));
create policy record on tenant_outbox for insert with check (omnistack_may_record(tenant_id));

-- In a tenant's database: what has come over and was done, so that it is done once.
create table tenant_inbox (
    id uuid not null,
    receiver text not null,
    created_at timestamptz not null,
    primary key (id, receiver)
);
create index tenant_inbox_created_at_idx on tenant_inbox (created_at);
