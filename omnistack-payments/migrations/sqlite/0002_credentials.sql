-- A row is the account of a tenant at a payment service, in one environment.
create table omni_payment_credentials (
    tenant_id blob not null,
    -- The name of the service, such as `stripe`.
    service text not null,
    environment text not null check (environment in ('live', 'test')),
    -- Sealed JSON: the fields by name.
    credentials text not null,
    updated_by blob not null,
    last_used_at text,
    -- The last check of the credentials, and why it failed.
    checked_at text,
    check_error text,
    created_at text not null,
    updated_at text not null,
    primary key (tenant_id, service, environment)
) strict;

-- A row is the environment to which a tenant has switched a payment service.
create table omni_payment_services (
    tenant_id blob not null,
    service text not null,
    environment text not null check (environment in ('live', 'test')),
    updated_at text not null,
    primary key (tenant_id, service)
) strict;
