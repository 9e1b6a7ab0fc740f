-- A row is a call to a language model: the ledger. It is open from the reservation to the settlement. Costs are in
-- pico-USD. The id has the time of the start.
create table omni_ai_calls (
    id blob primary key not null,
    tenant_id blob not null,
    -- `live` or `test`.
    environment text not null,
    user_id blob,
    api_key_id blob,
    -- The name that the caller asked for.
    asked_model text not null,
    -- The provider and the model that answered. Null if none was asked, or the process has crashed.
    provider text,
    model text,
    status text not null default 'open' check (status in ('open', 'succeeded', 'failed', 'interrupted', 'cancelled', 'lost')),
    -- All tokens of the input. The other kinds of input are parts of it.
    input_tokens integer not null default 0 check (input_tokens >= 0),
    cached_tokens integer not null default 0,
    cache_write_tokens integer not null default 0,
    cache_write_long_tokens integer not null default 0,
    -- All tokens of the output, reasoning included.
    output_tokens integer not null default 0 check (output_tokens >= 0),
    reasoning_tokens integer not null default 0,
    -- Whether the provider has not said the tokens.
    is_estimated integer not null default false,
    -- Null while the call is open, and if the price of the model is not known.
    cost_pico integer check (cost_pico >= 0),
    price_unknown integer not null default false,
    -- Whether the answer is from the cache of answers.
    is_cached integer not null default false,
    -- JSON list of at most ten attempts.
    attempts text not null default '[]',
    -- The name of the kind of the error.
    error text,
    first_byte_ms integer,
    duration_ms integer,
    -- The prompt version.
    prompt text,
    -- The route and the variant of an experiment, such as `support@new`.
    variant text,
    purpose text,
    started_at text not null,
    settled_at text,
    -- When an open call is settled as lost.
    expires_at text not null,
    reserved_input integer not null,
    reserved_output integer not null,
    -- Null if the price was not known.
    reserved_pico integer,
    -- Millionths of credits of the tenant's wallet.
    reserved_credits integer not null,
    -- JSON list of the budgets in which it is reserved.
    reserved_in text not null
) strict;
create index omni_ai_calls_tenant_id_idx on omni_ai_calls (tenant_id, id);
create index omni_ai_calls_open_idx on omni_ai_calls (expires_at) where status = 'open';

-- A row is the limit of what a tenant, a user or an API key may use in a period.
create table omni_ai_budgets (
    id blob primary key not null,
    tenant_id blob not null,
    scope text not null check (scope in ('tenant', 'user', 'key')),
    -- The id of the user or of the key. Empty for the tenant.
    subject text not null,
    period text not null check (period in ('day', 'month', 'total')),
    limit_tokens integer check (limit_tokens >= 0),
    limit_pico integer check (limit_pico >= 0),
    -- The share of a limit at which the tenant is told.
    soft_percent integer check (soft_percent between 1 and 99),
    -- Whether calls beyond the limit are refused.
    is_hard integer not null,
    -- Whether the operator of the app has set it, so that the tenant can't change it.
    by_operator integer not null,
    created_at text not null,
    updated_at text not null,
    unique (tenant_id, subject, scope, period),
    check (limit_tokens is not null or limit_pico is not null)
) strict;

-- A row is what is used and reserved of a budget, or of the limits of the plan, in one of its periods.
create table omni_ai_budget_uses (
    tenant_id blob not null,
    -- As in the budget; of the plan, the environment.
    subject text not null,
    -- The start of the period, in UTC; 1970-01-01 for all time.
    period_start text not null,
    scope text not null check (scope in ('plan', 'tenant', 'user', 'key')),
    period text not null check (period in ('day', 'month', 'total')),
    spent_tokens integer not null,
    spent_requests integer not null,
    spent_pico integer not null,
    reserved_tokens integer not null check (reserved_tokens >= 0),
    reserved_requests integer not null check (reserved_requests >= 0),
    reserved_pico integer not null check (reserved_pico >= 0),
    -- The largest share, in percent, that the tenant was told of.
    told_percent integer not null,
    primary key (tenant_id, subject, period_start, scope, period)
) strict;
create index omni_ai_budget_uses_period_idx on omni_ai_budget_uses (period, period_start);
