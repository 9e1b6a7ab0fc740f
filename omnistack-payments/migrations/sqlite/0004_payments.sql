-- A row is a payment of a tenant. Amounts are in minor units of the currency.
create table omni_payments (
    id blob primary key not null,
    tenant_id blob not null,
    -- `live` or `test`.
    environment text not null,
    -- What is paid; a second payment with the same key is the first one.
    request_key text not null,
    amount integer not null check (amount > 0),
    currency text not null,
    method text not null,
    capture text not null check (capture in ('automatic', 'manual')),
    country text,
    description text,
    -- JSON object of texts.
    metadata text not null,
    api_key_id blob,
    status text not null check (status in ('created', 'processing', 'requires_action', 'authorized', 'succeeded', 'failed',
        'canceled', 'unknown', 'overpaid')),
    captured integer not null,
    refunded integer not null,
    -- What payers have got back by lost disputes.
    charged_back integer not null,
    -- Increases with each change.
    version integer not null,
    created_at text not null,
    updated_at text not null,
    unique (tenant_id, environment, request_key)
) strict;
create index omni_payments_tenant_id_idx on omni_payments (tenant_id, environment, id);
create index omni_payments_status_idx on omni_payments (tenant_id, environment, status, id);

-- A row is an attempt to take a payment: a call to a provider.
create table omni_payment_attempts (
    payment_id blob not null,
    -- Counted from 1.
    number integer not null,
    tenant_id blob not null,
    environment text not null,
    service text not null,
    -- The name by which the provider knows the attempt.
    reference text not null unique,
    -- The key of the request that has begun the attempt; null for the first one, and after a failover.
    request_key text,
    state text not null check (state in ('sent', 'unknown', 'processing', 'requires_action', 'authorized', 'succeeded',
        'failed', 'canceled')),
    forced integer not null,
    provider_payment_id text,
    captured integer not null,
    refunded integer not null,
    -- What payers have got back by lost disputes.
    charged_back integer not null,
    fee integer,
    fee_currency text,
    -- In the payment's currency, until the fee is known.
    fee_estimate integer,
    action_url text,
    error_code text,
    error_message text,
    -- A change at the provider without a result.
    pending_change text check (pending_change in ('capture', 'cancel')),
    pending_amount integer,
    started_at text not null,
    ended_at text,
    duration_ms integer,
    -- When the provider is asked about the attempt; null if it is not.
    check_at text,
    checks integer not null,
    primary key (payment_id, number),
    unique (payment_id, request_key)
) strict;
create index omni_payment_attempts_provider_idx on omni_payment_attempts (service, environment, provider_payment_id)
    where provider_payment_id is not null;
create index omni_payment_attempts_check_at_idx on omni_payment_attempts (check_at) where check_at is not null;
create index omni_payment_attempts_tenant_id_idx on omni_payment_attempts (tenant_id, payment_id, number);

-- A row is a refund of an attempt.
create table omni_payment_refunds (
    id blob primary key not null,
    payment_id blob not null,
    attempt integer not null,
    tenant_id blob not null,
    environment text not null,
    reference text not null unique,
    -- The key of the request; a second refund with the same key is the first one.
    request_key text not null,
    state text not null check (state in ('sent', 'unknown', 'pending', 'succeeded', 'failed')),
    amount integer not null check (amount > 0),
    reason text,
    provider_refund_id text,
    error_code text,
    error_message text,
    check_at text,
    checks integer not null,
    created_at text not null,
    updated_at text not null,
    unique (payment_id, request_key)
) strict;
create index omni_payment_refunds_check_at_idx on omni_payment_refunds (check_at) where check_at is not null;
create index omni_payment_refunds_tenant_id_idx on omni_payment_refunds (tenant_id, id);

-- A row is a dispute of an attempt: its payer demands the money back.
create table omni_payment_disputes (
    id blob primary key not null,
    payment_id blob not null,
    attempt integer not null,
    tenant_id blob not null,
    environment text not null,
    provider_dispute_id text not null,
    state text not null check (state in ('open', 'lost', 'won')),
    amount integer not null,
    currency text not null,
    -- What was refunded of the attempt when the dispute was opened, without the refunds that the app has asked for.
    refunded_before integer not null,
    fee integer,
    fee_currency text,
    created_at text not null,
    updated_at text not null,
    unique (payment_id, provider_dispute_id)
) strict;
create index omni_payment_disputes_tenant_id_idx on omni_payment_disputes (tenant_id, id);
create index omni_payment_disputes_changeable_idx on omni_payment_disputes (id) where state <> 'won';

-- A row is the search for the disputes of an account whose webhooks were lost.
create table omni_dispute_searches (
    tenant_id blob not null,
    service text not null,
    environment text not null,
    -- The time before which no dispute is missing. Null before the first complete search.
    searched_until text,
    -- The time since which the search asks for disputes, and when it has begun.
    since text not null,
    started_at text not null,
    -- The token of the next page at the provider. Null in the first page, and after the last one.
    page text,
    -- Whether a dispute of the search could not be stored.
    missed integer not null,
    updated_at text not null,
    primary key (tenant_id, service, environment)
) strict;

-- A row is an entry of the double-entry ledger. The entries of a posting sum to zero. Rows are only added.
create table omni_payment_entries (
    id blob primary key not null,
    tenant_id blob not null,
    environment text not null,
    payment_id blob not null,
    posting_id blob not null,
    account text not null check (account in ('psp_clearing', 'fees', 'revenue', 'refunds', 'disputes', 'receivable')),
    -- Positive for a debit.
    amount integer not null,
    currency text not null,
    created_at text not null
) strict;
create index omni_payment_entries_tenant_id_idx on omni_payment_entries (tenant_id, id);
create index omni_payment_entries_payment_id_idx on omni_payment_entries (payment_id);

-- A row counts the calls of a day of UTC with the same result and about the same duration.
create table omni_payment_days (
    tenant_id blob not null,
    environment text not null,
    -- Days since 1970-01-01.
    day integer not null,
    service text not null,
    -- All zeros if no API key has asked.
    api_key_id blob not null,
    -- `success`, `declined`, `error` or `unknown`.
    outcome text not null,
    -- The code of an error; empty after a success.
    code text not null,
    -- The durations of the calls are at most this many milliseconds; 0 if they are not known.
    bucket_ms integer not null,
    -- Concurrent transactions add to different rows.
    slot integer not null,
    calls integer not null,
    duration_ms integer not null,
    primary key (tenant_id, environment, day, service, api_key_id, outcome, code, bucket_ms, slot)
) strict;

-- A row is the money that a service has taken on a day of UTC, in minor units of the currency.
create table omni_payment_volumes (
    tenant_id blob not null,
    environment text not null,
    day integer not null,
    service text not null,
    currency text not null,
    method text not null,
    -- Empty if it is not known.
    country text not null,
    -- All zeros if no API key has asked.
    api_key_id blob not null,
    slot integer not null,
    payments integer not null,
    captured integer not null,
    -- Fees in the same currency; estimated until they are known.
    fees integer not null,
    primary key (tenant_id, environment, day, service, currency, method, country, api_key_id, slot)
) strict;
