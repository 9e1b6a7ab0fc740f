-- Errors of all tenants, for operators. A tenant reads only the counts with its id, so the tables have a column `tenant`
-- and no policies. Times are microseconds since 1970-01-01T00:00:00Z.

-- A row is a group of errors with the same fingerprint.
create table omni_error_groups (
    -- The beginning of the hash of the fingerprint.
    id uuid primary key,
    fingerprint text not null,
    -- request, job or delivery
    origin text not null,
    code text not null,
    -- The normalised message, without data of users.
    title text not null,
    -- error or warning
    severity text not null,
    -- new, open, regressed, escalating, resolved or ignored
    status text not null,
    -- What the recommendations are based on, such as pool_timeout.
    signal text,
    assignee uuid,
    first_seen bigint not null,
    last_seen bigint not null,
    first_release text not null,
    last_release text not null,
    errors bigint not null,
    -- Distinct users and tenants, each counted up to a limit.
    users bigint not null,
    tenants bigint not null,
    resolved_at bigint,
    -- The hour of the last alert.
    alerted_hour bigint
);
create index omni_error_groups_last_seen_idx on omni_error_groups (last_seen, id);
create index omni_error_groups_status_idx on omni_error_groups (status, last_seen, id);
create index omni_error_groups_alerted_idx on omni_error_groups (alerted_hour) where alerted_hour is not null;

-- A row is the number of errors of a group in one hour, with one origin, operation, tenant and release.
create table omni_error_counts (
    group_id uuid not null,
    -- The beginning of the hour.
    hour bigint not null,
    origin text not null,
    -- Method and route pattern, name of the job or name of the subscriber.
    operation text not null,
    -- The nil UUID: no tenant.
    tenant uuid not null,
    release text not null,
    errors bigint not null,
    primary key (group_id, hour, origin, operation, tenant, release)
);
create index omni_error_counts_hour_idx on omni_error_counts (hour);
create index omni_error_counts_tenant_idx on omni_error_counts (tenant, hour);

-- A row is a user or tenant that a group affects, as a hash that differs for each group.
create table omni_error_users (
    group_id uuid not null,
    -- user or tenant
    kind text not null,
    subject uuid not null,
    first_seen bigint not null,
    primary key (group_id, kind, subject)
);

-- A row is one of the latest errors of a group.
create table omni_error_samples (
    id uuid primary key,
    group_id uuid not null,
    at bigint not null,
    operation text not null,
    tenant uuid,
    release text not null,
    -- At most 1,000 characters, with secrets replaced.
    message text not null,
    request_id text,
    trace_id text
);
create index omni_error_samples_group_idx on omni_error_samples (group_id, at, id);
create index omni_error_samples_at_idx on omni_error_samples (at);
