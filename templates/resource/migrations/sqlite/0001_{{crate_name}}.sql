create table {{crate_name}} (
    id          blob primary key,
    tenant_id   blob not null,
    title       text not null,
    description text,
    created_at  text not null,
    updated_at  text not null,
    deleted_at  text
) strict;

-- A unique value is free again after its row was deleted:
-- create unique index {{crate_name}}_tenant_id_title_key on {{crate_name}} (tenant_id, title) where deleted_at is null;
create index {{crate_name}}_by_creation on {{crate_name}} (tenant_id, created_at, id);
create index {{crate_name}}_by_title on {{crate_name}} (tenant_id, title, id);
create index {{crate_name}}_deleted on {{crate_name}} (tenant_id, created_at, id) where deleted_at is not null;

-- For `?q=`.
select omnistack_search('{{crate_name}}', 'title', 'description');
