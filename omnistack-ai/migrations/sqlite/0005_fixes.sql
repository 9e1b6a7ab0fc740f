-- A row is a finding in a tenant's code that fixes can be generated for.
create table omni_ai_fix_findings (
    id blob primary key not null,
    tenant_id blob not null,
    -- Such as `owner/name`; null if the code is in no repository that the app reaches.
    repository text,
    branch text,
    path text not null,
    -- Lines counted from 1, the last one included.
    start_line integer not null,
    end_line integer not null,
    rule text not null,
    severity text not null check (severity in ('info', 'low', 'medium', 'high', 'critical')),
    message text not null,
    -- The file; null if it is read from the repository.
    code text,
    created_by blob,
    created_at text not null
) strict;
create index omni_ai_fix_findings_of_tenant on omni_ai_fix_findings (tenant_id, id);
create index omni_ai_fix_findings_created_at on omni_ai_fix_findings (created_at);

-- A row is a fix of a finding: the state that its events add up to.
create table omni_ai_fixes (
    id blob primary key not null,
    tenant_id blob not null,
    finding_id blob not null references omni_ai_fix_findings on delete cascade,
    status text not null check (status in ('queued', 'generating', 'proposed', 'approved', 'applying', 'applied',
        'opening_pull_request', 'pull_request_open', 'failed')),
    -- Nothing is applied without an approval.
    approved_at text check (approved_at is not null or status not in ('approved', 'applying', 'applied',
        'opening_pull_request', 'pull_request_open')),
    -- The number and the hash of the last event.
    sequence integer not null,
    hash text not null,
    -- JSON.
    state text not null,
    created_at text not null,
    updated_at text not null
) strict;
create index omni_ai_fixes_of_finding on omni_ai_fixes (tenant_id, finding_id, id);
create index omni_ai_fixes_finding_id on omni_ai_fixes (finding_id);
-- Ids are ordered by time, so the fixes of a month are a range of this index.
create index omni_ai_fixes_of_tenant on omni_ai_fixes (tenant_id, id);
create index omni_ai_fixes_in_progress on omni_ai_fixes (tenant_id, updated_at)
    where status in ('queued', 'generating', 'applying', 'opening_pull_request');

-- A row is an event in the run of a fix. Rows are only added. Each holds the hash of the one before it.
create table omni_ai_fix_events (
    fix_id blob not null references omni_ai_fixes on delete cascade,
    tenant_id blob not null,
    -- Counted from 1.
    sequence integer not null,
    at text not null,
    -- The user; null for the app itself.
    actor blob,
    -- JSON, exactly as it was hashed.
    data text not null,
    previous text not null,
    hash text not null,
    primary key (fix_id, sequence)
) strict;
create index omni_ai_fix_events_of_tenant on omni_ai_fix_events (tenant_id, fix_id);
