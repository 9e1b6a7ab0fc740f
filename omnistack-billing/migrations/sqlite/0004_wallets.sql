-- A row is the prepaid credits of a tenant. Amounts are in millionths of a credit.
create table omni_wallets (
    tenant_id blob not null,
    -- `live` or `test`.
    environment text not null,
    -- The sum of what is left of the grants.
    balance integer not null check (balance >= 0),
    -- Below this balance, the wallet is low. Null if the tenant is not told.
    low_below integer,
    -- The amount of an automatic top-up. Null if there is none.
    top_up_amount integer,
    -- Since when the balance has been low; null if it is not. The tenant is told once.
    low_since text,
    created_at text not null,
    updated_at text not null,
    primary key (tenant_id, environment)
) strict;

-- A row is a grant of credits. The one with the lowest priority number is used first, then the one that expires first,
-- then the oldest.
create table omni_wallet_grants (
    id blob primary key not null,
    tenant_id blob not null,
    environment text not null,
    -- What was paid or promised; a second grant with the same key changes nothing.
    key text not null,
    description text not null,
    priority integer not null,
    -- The amount that was granted, less what was taken back.
    amount integer not null check (amount >= 0),
    remaining integer not null check (remaining >= 0 and remaining <= amount),
    expires_at text,
    created_at text not null,
    unique (tenant_id, environment, key)
) strict;
create index omni_wallet_grants_tenant_id_idx on omni_wallet_grants (tenant_id, id);
create index omni_wallet_grants_open_idx on omni_wallet_grants (tenant_id, environment, priority, expires_at, id)
    where remaining > 0;
create index omni_wallet_grants_expires_at_idx on omni_wallet_grants (expires_at)
    where remaining > 0 and expires_at is not null;

-- A row is a line of a wallet's statement. Rows are only added.
create table omni_wallet_entries (
    id blob primary key not null,
    tenant_id blob not null,
    environment text not null,
    kind text not null check (kind in ('granted', 'used', 'expired', 'adjusted', 'returned')),
    -- Positive if the balance has grown.
    amount integer not null,
    -- The balance afterwards.
    balance integer not null check (balance >= 0),
    -- The grant, for all kinds but `used` and `returned`, which can concern several.
    grant_id blob,
    -- JSON list of grants and amounts, for `used` and `returned`.
    parts text,
    -- What happened; a second entry of the kind with the same key is not made.
    key text not null,
    description text not null,
    created_at text not null,
    unique (tenant_id, environment, kind, key)
) strict;
create index omni_wallet_entries_tenant_id_idx on omni_wallet_entries (tenant_id, environment, id);
