-- A row is a payment of a tenant. Amounts are in minor units of the currency.
create table omni_payments (
    id uuid primary key,
    tenant_id uuid not null,
    -- `live` or `test`.
    environment text not null,
    -- What is paid; a second payment with the same key is the first one.
    request_key text not null,
    amount bigint not null check (amount > 0),
    currency text not null,
    method text not null,
    capture text not null check (capture in ('automatic', 'manual')),
    country text,
    description text,
    -- JSON object of texts.
    metadata text not null,
    api_key_id uuid,
    status text not null check (status in ('created', 'processing', 'requires_action', 'authorized', 'succeeded', 'failed',
        'canceled', 'unknown', 'overpaid')),
    captured bigint not null,
    refunded bigint not null,
    -- What payers have got back by lost disputes.
    charged_back bigint not null,
    -- Increases with each change.
    version bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (tenant_id, environment, request_key)
);
create index omni_payments_tenant_id_idx on omni_payments (tenant_id, environment, id);
create index omni_payments_status_idx on omni_payments (tenant_id, environment, status, id);
alter table omni_payments enable row level security;
alter table omni_payments force row level security;
create policy tenant on omni_payments using (omnistack_visible(tenant_id));

-- A row is an attempt to take a payment: a call to a provider.
create table omni_payment_attempts (
    payment_id uuid not null,
    -- Counted from 1.
    number integer not null,
    tenant_id uuid not null,
    environment text not null,
    service text not null,
    -- The name by which the provider knows the attempt.
    reference text not null unique,
    -- The key of the request that has begun the attempt; null for the first one, and after a failover.
    request_key text,
    state text not null check (state in ('sent', 'unknown', 'processing', 'requires_action', 'authorized', 'succeeded',
        'failed', 'canceled')),
    forced boolean not null,
    provider_payment_id text,
    captured bigint not null,
    refunded bigint not null,
    -- What payers have got back by lost disputes.
    charged_back bigint not null,
    fee bigint,
    fee_currency text,
    -- In the payment's currency, until the fee is known.
    fee_estimate bigint,
    action_url text,
    error_code text,
    error_message text,
    -- A change at the provider without a result.
    pending_change text check (pending_change in ('capture', 'cancel')),
    pending_amount bigint,
    started_at timestamptz not null,
    ended_at timestamptz,
    duration_ms bigint,
    -- When the provider is asked about the attempt; null if it is not.
    check_at timestamptz,
    checks integer not null,
    primary key (payment_id, number),
    unique (payment_id, request_key)
);
create index omni_payment_attempts_provider_idx on omni_payment_attempts (service, environment, provider_payment_id)
    where provider_payment_id is not null;
create index omni_payment_attempts_check_at_idx on omni_payment_attempts (check_at) where check_at is not null;
create index omni_payment_attempts_tenant_id_idx on omni_payment_attempts (tenant_id, payment_id, number);
alter table omni_payment_attempts enable row level security;
alter table omni_payment_attempts force row level security;
create policy tenant on omni_payment_attempts using (omnistack_visible(tenant_id));

-- A row is a refund of an attempt.
create table omni_payment_refunds (
    id uuid primary key,
    payment_id uuid not null,
    attempt integer not null,
    tenant_id uuid not null,
    environment text not null,
    reference text not null unique,
    -- The key of the request; a second refund with the same key is the first one.
    request_key text not null,
    state text not null check (state in ('sent', 'unknown', 'pending', 'succeeded', 'failed')),
    amount bigint not null check (amount > 0),
    reason text,
    provider_refund_id text,
    error_code text,
    error_message text,
    check_at timestamptz,
    checks integer not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (payment_id, request_key)
);
create index omni_payment_refunds_check_at_idx on omni_payment_refunds (check_at) where check_at is not null;
create index omni_payment_refunds_tenant_id_idx on omni_payment_refunds (tenant_id, id);
alter table omni_payment_refunds enable row level security;
alter table omni_payment_refunds force row level security;
create policy tenant on omni_payment_refunds using (omnistack_visible(tenant_id));

-- A row is a dispute of an attempt: its payer demands the money back.
create table omni_payment_disputes (
    id uuid primary key,
    payment_id uuid not null,
    attempt integer not null,
    tenant_id uuid not null,
    environment text not null,
    provider_dispute_id text not null,
    state text not null check (state in ('open', 'lost', 'won')),
    amount bigint not null,
    currency text not null,
    -- What was refunded of the attempt when the dispute was opened, without the refunds that the app has asked for.
    refunded_before bigint not null,
    fee bigint,
    fee_currency text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (payment_id, provider_dispute_id)
);
create index omni_payment_disputes_tenant_id_idx on omni_payment_disputes (tenant_id, id);
create index omni_payment_disputes_changeable_idx on omni_payment_disputes (id) where state <> 'won';
alter table omni_payment_disputes enable row level security;
alter table omni_payment_disputes force row level security;
create policy tenant on omni_payment_disputes using (omnistack_visible(tenant_id));

-- A row is the search for the disputes of an account whose webhooks were lost.
create table omni_dispute_searches (
    tenant_id uuid not null,
    service text not null,
    environment text not null,
    -- The time before which no dispute is missing. Null before the first complete search.
    searched_until timestamptz,
    -- The time since which the search asks for disputes, and when it has begun.
    since timestamptz not null,
    started_at timestamptz not null,
    -- The token of the next page at the provider. Null in the first page, and after the last one.
    page text,
    -- Whether a dispute of the search could not be stored.
    missed boolean not null,
    updated_at timestamptz not null,
    primary key (tenant_id, service, environment)
);
alter table omni_dispute_searches enable row level security;
alter table omni_dispute_searches force row level security;
create policy tenant on omni_dispute_searches using (omnistack_visible(tenant_id));

-- A row is an entry of the double-entry ledger. The entries of a posting sum to zero. Rows are only added.
create table omni_payment_entries (
    id uuid primary key,
    tenant_id uuid not null,
    environment text not null,
    payment_id uuid not null,
    posting_id uuid not null,
    account text not null check (account in ('psp_clearing', 'fees', 'revenue', 'refunds', 'disputes', 'receivable')),
    -- Positive for a debit.
    amount bigint not null,
    currency text not null,
    created_at timestamptz not null
);
create index omni_payment_entries_tenant_id_idx on omni_payment_entries (tenant_id, id);
create index omni_payment_entries_payment_id_idx on omni_payment_entries (payment_id);
alter table omni_payment_entries enable row level security;
alter table omni_payment_entries force row level security;
create policy tenant on omni_payment_entries using (omnistack_visible(tenant_id));

-- A row counts the calls of a day of UTC with the same result and about the same duration.
create table omni_payment_days (
    tenant_id uuid not null,
    environment text not null,
    -- Days since 1970-01-01.
    day integer not null,
    service text not null,
    -- All zeros if no API key has asked.
    api_key_id uuid not null,
    -- `success`, `declined`, `error` or `unknown`.
    outcome text not null,
    -- The code of an error; empty after a success.
    code text not null,
    -- The durations of the calls are at most this many milliseconds; 0 if they are not known.
    bucket_ms integer not null,
    -- Concurrent transactions add to different rows.
    slot integer not null,
    calls bigint not null,
    duration_ms bigint not null,
    primary key (tenant_id, environment, day, service, api_key_id, outcome, code, bucket_ms, slot)
);
alter table omni_payment_days enable row level security;
alter table omni_payment_days force row level security;
create policy tenant on omni_payment_days using (omnistack_visible(tenant_id));

-- A row is the money that a service has taken on a day of UTC, in minor units of the currency.
create table omni_payment_volumes (
    tenant_id uuid not null,
    environment text not null,
    day integer not null,
    service text not null,
    currency text not null,
    method text not null,
    -- Empty if it is not known.
    country text not null,
    -- All zeros if no API key has asked.
    api_key_id uuid not null,
    slot integer not null,
    payments bigint not null,
    captured bigint not null,
    -- Fees in the same currency; estimated until they are known.
    fees bigint not null,
    primary key (tenant_id, environment, day, service, currency, method, country, api_key_id, slot)
);
alter table omni_payment_volumes enable row level security;
alter table omni_payment_volumes force row level security;
create policy tenant on omni_payment_volumes using (omnistack_visible(tenant_id));
