-- One chain for each tenant, and one for the app under the nil id. The head is written with each entry, so that
-- transactions that record in one chain wait for each other, and a rollback leaves no gap.
create table audit_chains (
    tenant_id uuid primary key,
    -- Number and hash of the last entry, and the hash of the entry before.
    sequence bigint not null check (sequence >= 0),
    previous bytea not null,
    hash bytea not null,
    -- Number of the last entry that retention removed, 0 if none was; verification starts after it.
    checkpoint bigint not null check (checkpoint >= 0 and checkpoint <= sequence),
    checkpoint_hash bytea not null
);

-- The app's own chain exists from the first migration on: a database without it was emptied and does not verify.
insert into audit_chains
select '00000000-0000-0000-0000-000000000000'::uuid, 0, zeros, zeros, 0, zeros from decode(repeat('00', 32), 'hex') as zeros;

create table audit_entries (
    tenant_id uuid not null,
    sequence bigint not null check (sequence > 0),
    id uuid not null,
    at timestamptz not null,
    actor uuid,
    action text not null,
    resource text,
    -- JSON as it was hashed; `jsonb` would change its text.
    details text,
    previous bytea not null,
    hash bytea not null,
    primary key (tenant_id, sequence)
);

create index audit_entries_newest on audit_entries (at desc, tenant_id desc, sequence desc);
create index audit_entries_newest_of_tenant on audit_entries (tenant_id, at desc, sequence desc);
create index audit_entries_newest_of_action on audit_entries (action, at desc, tenant_id desc, sequence desc);
create index audit_entries_newest_of_tenant_and_action on audit_entries (tenant_id, action, at desc, sequence desc);
create index audit_entries_newest_of_resource on audit_entries (resource, at desc, tenant_id desc, sequence desc)
    where resource is not null;
create index audit_entries_newest_of_actor on audit_entries (actor, at desc, tenant_id desc, sequence desc);

-- Returns whether this transaction may record in a chain. A transaction for a tenant may record in the tenant's
-- and the app's chain, a transaction for all tenants or for none in any chain.
create function omnistack_may_record(tenant uuid) returns boolean
    language sql stable parallel safe
    return case coalesce(current_setting('omnistack.tenant', true), '')
        when '*' then true
        when '' then true
        else tenant in (current_setting('omnistack.tenant', true)::uuid, '00000000-0000-0000-0000-000000000000')
    end;

-- Entries are visible like other rows of a tenant, but may also be recorded by transactions that can't read them.
-- A head only reveals the number of entries.
alter table audit_entries enable row level security;
alter table audit_entries force row level security;
create policy tenant on audit_entries using (omnistack_visible(tenant_id));
create policy record on audit_entries for insert with check (omnistack_may_record(tenant_id));
alter table audit_chains enable row level security;
alter table audit_chains force row level security;
create policy record on audit_chains using (omnistack_may_record(tenant_id));

-- Entries are never changed, and are only removed by retention, which moves the checkpoint first.
create function omnistack_audit_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'audit entries are only ever added' using errcode = 'restrict_violation';
end $$;

create function omnistack_audit_retained() returns trigger language plpgsql as $$
begin
    if old.sequence > coalesce((select checkpoint from audit_chains where tenant_id = old.tenant_id), 0) then
        raise exception 'audit entries are only ever added' using errcode = 'restrict_violation';
    end if;
    return old;
end $$;

create trigger audit_entries_update before update on audit_entries
    for each row execute function omnistack_audit_refuse();
create trigger audit_entries_delete before delete on audit_entries
    for each row execute function omnistack_audit_retained();
create trigger audit_entries_truncate before truncate on audit_entries
    for each statement execute function omnistack_audit_refuse();
create trigger audit_chains_forward before update on audit_chains
    for each row when (new.sequence < old.sequence or new.checkpoint < old.checkpoint or new.tenant_id <> old.tenant_id)
    execute function omnistack_audit_refuse();
create trigger audit_chains_delete before delete on audit_chains
    for each row execute function omnistack_audit_refuse();
create trigger audit_chains_truncate before truncate on audit_chains
    for each statement execute function omnistack_audit_refuse();
