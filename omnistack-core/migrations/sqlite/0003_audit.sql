-- One chain for each tenant, and one for the app under the nil id. The head is written with each entry; a
-- rollback leaves no gap. Without row ids, which `insert or replace` could conflict with instead of the primary
-- key.
create table audit_chains (
    tenant_id blob primary key not null,
    -- Number and hash of the last entry, and the hash of the entry before.
    sequence integer not null check (sequence >= 0),
    previous blob not null,
    hash blob not null,
    -- Number of the last entry that retention removed, 0 if none was; verification starts after it.
    checkpoint integer not null check (checkpoint >= 0 and checkpoint <= sequence),
    checkpoint_hash blob not null
) strict, without rowid;

-- The app's own chain exists from the first migration on: a database without it was emptied and does not verify.
insert into audit_chains values (zeroblob(16), 0, zeroblob(32), zeroblob(32), 0, zeroblob(32));

create table audit_entries (
    tenant_id blob not null,
    sequence integer not null check (sequence > 0),
    id blob not null,
    at text not null,
    actor blob,
    action text not null,
    resource text,
    -- JSON as it was hashed.
    details text,
    previous blob not null,
    hash blob not null,
    primary key (tenant_id, sequence)
) strict, without rowid;

create index audit_entries_newest on audit_entries (at desc, tenant_id desc, sequence desc);
create index audit_entries_newest_of_tenant on audit_entries (tenant_id, at desc, sequence desc);
create index audit_entries_newest_of_action on audit_entries (action, at desc, tenant_id desc, sequence desc);
create index audit_entries_newest_of_tenant_and_action on audit_entries (tenant_id, action, at desc, sequence desc);
create index audit_entries_newest_of_resource on audit_entries (resource, at desc, tenant_id desc, sequence desc)
    where resource is not null;
create index audit_entries_newest_of_actor on audit_entries (actor, at desc, tenant_id desc, sequence desc);

-- Entries are never changed, and are only removed by retention, which moves the checkpoint first.
-- `insert or replace` fires no delete trigger, so an existing entry is refused before the insert.
create trigger audit_entries_insert before insert on audit_entries
    when exists (select 1 from audit_entries where tenant_id = new.tenant_id and sequence = new.sequence) begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger audit_chains_insert before insert on audit_chains
    when exists (select 1 from audit_chains where tenant_id = new.tenant_id) begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger audit_entries_update before update on audit_entries begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger audit_entries_delete before delete on audit_entries
    when old.sequence > coalesce((select checkpoint from audit_chains where tenant_id = old.tenant_id), 0) begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger audit_chains_forward before update on audit_chains
    when new.sequence < old.sequence or new.checkpoint < old.checkpoint or new.tenant_id <> old.tenant_id begin
    select raise(abort, 'audit entries are only ever added');
end;
create trigger audit_chains_delete before delete on audit_chains begin
    select raise(abort, 'audit entries are only ever added');
end;
