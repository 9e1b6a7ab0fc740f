-- A row is the token that identifies a tenant to the app stores. Devices attach it to their purchases.
create table omni_store_tokens (
    token uuid primary key,
    tenant_id uuid not null unique,
    created_at timestamptz not null
);
alter table omni_store_tokens enable row level security;
alter table omni_store_tokens force row level security;
create policy tenant on omni_store_tokens using (omnistack_visible(tenant_id));

-- A row is a subscription that was bought in an app store.
create table omni_store_purchases (
    -- `apple` or `google`.
    store text not null,
    -- `live` or `test`.
    environment text not null,
    -- Apple's original transaction, or the hash of Google's purchase token.
    purchase_id text not null,
    tenant_id uuid not null,
    -- The first purchase of the subscription: an upgrade is another purchase of the same subscription.
    subscription text not null,
    product_id text not null,
    status text not null,
    period_start timestamptz,
    period_end timestamptz,
    -- When it ends without a further payment. Null if it renews.
    cancel_at timestamptz,
    -- The store's version of the state, which rises.
    version bigint not null,
    -- Google's purchase token, with which its state is asked for. It is of use only to the app's service account.
    purchase_token text,
    -- Whether Google knows that the tenant has what it has bought. Google refunds the purchase otherwise.
    acknowledged boolean not null,
    -- The purchase that has replaced this one, such as after an upgrade.
    replaced_by text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (store, environment, purchase_id)
);
create index omni_store_purchases_tenant_id_idx on omni_store_purchases (tenant_id, updated_at);
-- For the job that asks for the state of purchases whose period has ended.
create index omni_store_purchases_period_end_idx on omni_store_purchases (period_end, store, environment, purchase_id)
    where status not in ('canceled', 'incomplete_expired');
alter table omni_store_purchases enable row level security;
alter table omni_store_purchases force row level security;
create policy tenant on omni_store_purchases using (omnistack_visible(tenant_id));

-- A row is the newest state of a purchase in the App Store that belongs to no known tenant yet.
create table omni_store_unclaimed (
    store text not null,
    environment text not null,
    purchase_id text not null,
    -- JSON. Null while the transaction that has inserted the row decides.
    state text,
    -- The version of the state, or 0.
    version bigint not null,
    received_at timestamptz not null,
    primary key (store, environment, purchase_id)
);
create index omni_store_unclaimed_received_at_idx on omni_store_unclaimed (received_at);
