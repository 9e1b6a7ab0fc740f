-- A row is the account of a tenant at a payment service, in one environment.
create table omni_payment_credentials (
    tenant_id uuid not null,
    -- The name of the service, such as `stripe`.
    service text not null,
    environment text not null check (environment in ('live', 'test')),
    -- Sealed JSON: the fields by name.
    credentials text not null,
    updated_by uuid not null,
    last_used_at timestamptz,
    -- The last check of the credentials, and why it failed.
    checked_at timestamptz,
    check_error text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant_id, service, environment)
);
alter table omni_payment_credentials enable row level security;
alter table omni_payment_credentials force row level security;
create policy tenant on omni_payment_credentials using (omnistack_visible(tenant_id));

-- A row is the environment to which a tenant has switched a payment service.
create table omni_payment_services (
    tenant_id uuid not null,
    service text not null,
    environment text not null check (environment in ('live', 'test')),
    updated_at timestamptz not null,
    primary key (tenant_id, service)
);
alter table omni_payment_services enable row level security;
alter table omni_payment_services force row level security;
create policy tenant on omni_payment_services using (omnistack_visible(tenant_id));
