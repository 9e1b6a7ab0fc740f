-- A row is the prepaid credits of a tenant. Amounts are in millionths of a credit.
create table omni_wallets (
    tenant_id uuid not null,
    -- `live` or `test`.
    environment text not null,
    -- The sum of what is left of the grants.
    balance bigint not null check (balance >= 0),
    -- Below this balance, the wallet is low. Null if the tenant is not told.
    low_below bigint,
    -- The amount of an automatic top-up. Null if there is none.
    top_up_amount bigint,
    -- Since when the balance has been low; null if it is not. The tenant is told once.
    low_since timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant_id, environment)
);
alter table omni_wallets enable row level security;
alter table omni_wallets force row level security;
create policy tenant on omni_wallets using (omnistack_visible(tenant_id));

-- A row is a grant of credits. The one with the lowest priority number is used first, then the one that expires first,
-- then the oldest.
create table omni_wallet_grants (
    id uuid primary key,
    tenant_id uuid not null,
    environment text not null,
    -- What was paid or promised; a second grant with the same key changes nothing.
    key text not null,
    description text not null,
    priority integer not null,
    -- The amount that was granted, less what was taken back.
    amount bigint not null check (amount >= 0),
    remaining bigint not null check (remaining >= 0 and remaining <= amount),
    expires_at timestamptz,
    created_at timestamptz not null,
    unique (tenant_id, environment, key)
);
create index omni_wallet_grants_tenant_id_idx on omni_wallet_grants (tenant_id, id);
create index omni_wallet_grants_open_idx on omni_wallet_grants (tenant_id, environment, priority, expires_at, id)
    where remaining > 0;
create index omni_wallet_grants_expires_at_idx on omni_wallet_grants (expires_at)
    where remaining > 0 and expires_at is not null;
alter table omni_wallet_grants enable row level security;
alter table omni_wallet_grants force row level security;
create policy tenant on omni_wallet_grants using (omnistack_visible(tenant_id));

-- A row is a line of a wallet's statement. Rows are only added.
create table omni_wallet_entries (
    id uuid primary key,
    tenant_id uuid not null,
    environment text not null,
    kind text not null check (kind in ('granted', 'used', 'expired', 'adjusted', 'returned')),
    -- Positive if the balance has grown.
    amount bigint not null,
    -- The balance afterwards.
    balance bigint not null check (balance >= 0),
    -- The grant, for all kinds but `used` and `returned`, which can concern several.
    grant_id uuid,
    -- JSON list of grants and amounts, for `used` and `returned`.
    parts text,
    -- What happened; a second entry of the kind with the same key is not made.
    key text not null,
    description text not null,
    created_at timestamptz not null,
    unique (tenant_id, environment, kind, key)
);
create index omni_wallet_entries_tenant_id_idx on omni_wallet_entries (tenant_id, environment, id);
alter table omni_wallet_entries enable row level security;
alter table omni_wallet_entries force row level security;
create policy tenant on omni_wallet_entries using (omnistack_visible(tenant_id));
