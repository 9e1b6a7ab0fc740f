-- A row is a rule by which payments of a tenant are routed. The first rule that matches a payment applies.
create table omni_payment_routes (
    tenant_id blob not null,
    environment text not null check (environment in ('live', 'test')),
    position integer not null,
    -- Null for every currency, country or kind of payment method.
    currency text,
    country text,
    method text,
    -- The range of amounts in minor units of the currency, both included. Null for no limit.
    min_minor integer,
    max_minor integer,
    strategy text not null check (strategy in ('ordered', 'cheapest', 'weighted')),
    -- JSON: the services with their weights. Empty for every account.
    services text not null,
    updated_at text not null,
    primary key (tenant_id, environment, position)
) strict;
