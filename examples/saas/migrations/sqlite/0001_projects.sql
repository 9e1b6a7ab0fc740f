create table projects (
    id          blob primary key,
    tenant_id   blob not null,
    name        text not null,
    description text,
    created_at  text not null,
    updated_at  text not null,
    deleted_at  text
) strict;

-- A deleted project's name is free again.
create unique index projects_tenant_id_name_key on projects (tenant_id, name) where deleted_at is null;
create index projects_by_creation on projects (tenant_id, created_at, id);
create index projects_by_name on projects (tenant_id, name, id);
create index projects_deleted on projects (tenant_id, created_at, id) where deleted_at is not null;

-- For `?q=`.
select omnistack_search('projects', 'name', 'description');
