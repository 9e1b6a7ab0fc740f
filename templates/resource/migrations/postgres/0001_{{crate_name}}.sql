create table {{crate_name}} (
    id          uuid primary key,
    tenant_id   uuid not null,
    title       text not null,
    description text,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    deleted_at  timestamptz
);

-- A unique value is free again after its row was deleted:
-- create unique index {{crate_name}}_tenant_id_title_key on {{crate_name}} (tenant_id, title) where deleted_at is null;
create index {{crate_name}}_by_creation on {{crate_name}} (tenant_id, created_at, id);
create index {{crate_name}}_by_title on {{crate_name}} (tenant_id, title, id);
create index {{crate_name}}_deleted on {{crate_name}} (tenant_id, created_at, id) where deleted_at is not null;

-- For `?q=`, and the isolation of tenants.
select omnistack_search('{{crate_name}}', 'title', 'description');
select omnistack_protect('{{crate_name}}');
