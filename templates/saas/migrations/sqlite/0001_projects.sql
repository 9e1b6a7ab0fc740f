create table projects (
    id          blob primary key,
    tenant_id   blob not null,
    name        text not null,
    description text,
    created_at  text not null,
    updated_at  text not null,
    deleted_at  text,
    unique (tenant_id, name)
) strict;

create index projects_by_creation on projects (tenant_id, created_at, id);
