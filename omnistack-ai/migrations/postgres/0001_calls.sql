-- A row is a call to a language model: the ledger. It is open from the reservation to the settlement. Costs are in
-- pico-USD. The id has the time of the start.
create table omni_ai_calls (
    id uuid primary key,
    tenant_id uuid not null,
    -- `live` or `test`.
    environment text not null,
    user_id uuid,
    api_key_id uuid,
    -- The name that the caller asked for.
    asked_model text not null,
    -- The provider and the model that answered. Null if none was asked, or the process has crashed.
    provider text,
    model text,
    status text not null default 'open' check (status in ('open', 'succeeded', 'failed', 'interrupted', 'cancelled', 'lost')),
    -- All tokens of the input. The other kinds of input are parts of it.
    input_tokens bigint not null default 0 check (input_tokens >= 0),
    cached_tokens bigint not null default 0,
    cache_write_tokens bigint not null default 0,
    cache_write_long_tokens bigint not null default 0,
    -- All tokens of the output, reasoning included.
    output_tokens bigint not null default 0 check (output_tokens >= 0),
    reasoning_tokens bigint not null default 0,
    -- Whether the provider has not said the tokens.
    is_estimated boolean not null default false,
    -- Null while the call is open, and if the price of the model is not known.
    cost_pico bigint check (cost_pico >= 0),
    price_unknown boolean not null default false,
    -- Whether the answer is from the cache of answers.
    is_cached boolean not null default false,
    -- JSON list of at most ten attempts.
    attempts text not null default '[]',
    -- The name of the kind of the error.
    error text,
    first_byte_ms bigint,
    duration_ms bigint,
    -- The prompt version.
    prompt text,
    -- The route and the variant of an experiment, such as `support@new`.
    variant text,
    purpose text,
    started_at timestamptz not null,
    settled_at timestamptz,
    -- When an open call is settled as lost.
    expires_at timestamptz not null,
    reserved_input bigint not null,
    reserved_output bigint not null,
    -- Null if the price was not known.
    reserved_pico bigint,
    -- Millionths of credits of the tenant's wallet.
    reserved_credits bigint not null,
    -- JSON list of the budgets in which it is reserved.
    reserved_in text not null
);
create index omni_ai_calls_tenant_id_idx on omni_ai_calls (tenant_id, id);
create index omni_ai_calls_open_idx on omni_ai_calls (expires_at) where status = 'open';
alter table omni_ai_calls enable row level security;
alter table omni_ai_calls force row level security;
create policy tenant on omni_ai_calls using (omnistack_visible(tenant_id));

-- A row is the limit of what a tenant, a user or an API key may use in a period.
create table omni_ai_budgets (
    id uuid primary key,
    tenant_id uuid not null,
    scope text not null check (scope in ('tenant', 'user', 'key')),
    -- The id of the user or of the key. Empty for the tenant.
    subject text not null,
    period text not null check (period in ('day', 'month', 'total')),
    limit_tokens bigint check (limit_tokens >= 0),
    limit_pico bigint check (limit_pico >= 0),
    -- The share of a limit at which the tenant is told.
    soft_percent integer check (soft_percent between 1 and 99),
    -- Whether calls beyond the limit are refused.
    is_hard boolean not null,
    -- Whether the operator of the app has set it, so that the tenant can't change it.
    by_operator boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (tenant_id, subject, scope, period),
    check (limit_tokens is not null or limit_pico is not null)
);
alter table omni_ai_budgets enable row level security;
alter table omni_ai_budgets force row level security;
create policy tenant on omni_ai_budgets using (omnistack_visible(tenant_id));

-- A row is what is used and reserved of a budget, or of the limits of the plan, in one of its periods.
create table omni_ai_budget_uses (
    tenant_id uuid not null,
    -- As in the budget; of the plan, the environment.
    subject text not null,
    -- The start of the period, in UTC; 1970-01-01 for all time.
    period_start timestamptz not null,
    scope text not null check (scope in ('plan', 'tenant', 'user', 'key')),
    period text not null check (period in ('day', 'month', 'total')),
    spent_tokens bigint not null,
    spent_requests bigint not null,
    spent_pico bigint not null,
    reserved_tokens bigint not null check (reserved_tokens >= 0),
    reserved_requests bigint not null check (reserved_requests >= 0),
    reserved_pico bigint not null check (reserved_pico >= 0),
    -- The largest share, in percent, that the tenant was told of.
    told_percent integer not null,
    primary key (tenant_id, subject, period_start, scope, period)
);
create index omni_ai_budget_uses_period_idx on omni_ai_budget_uses (period, period_start);
alter table omni_ai_budget_uses enable row level security;
alter table omni_ai_budget_uses force row level security;
create policy tenant on omni_ai_budget_uses using (omnistack_visible(tenant_id));
