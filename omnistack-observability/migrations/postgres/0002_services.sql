-- A row is a service that was checked: its state and its last result.
create table omni_services (
    name text primary key,
    -- Number of checks, which is the number of the last one in `omni_service_checks`.
    checks bigint not null,
    state text not null,
    -- Failures since the last success, and successes since the last failure.
    failures bigint not null,
    successes bigint not null,
    -- Time at which the service came into this state.
    since timestamptz not null,
    checked_at timestamptz not null,
    response_ms double precision not null,
    -- Null if the last check succeeded.
    error text
);

-- A row is the result of one check of a service.
create table omni_service_checks (
    service text not null,
    number bigint not null,
    at timestamptz not null,
    -- State of the service after the check.
    state text not null,
    response_ms double precision not null,
    -- Null if the check succeeded.
    error text,
    primary key (service, number)
);
create index omni_service_checks_at on omni_service_checks (service, at);
