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

-- For `?q=`: on PostgreSQL `omnistack_search` makes the same.
create table projects_search_ids (number integer primary key, id blob not null unique) strict;
create virtual table projects_search using fts5(
    tenant, words, content = '', contentless_delete = 1, tokenize = 'trigram', detail = 'column');
create trigger projects_search_insert after insert on projects begin
    insert into projects_search_ids (id) values (new.id);
    insert into projects_search (rowid, tenant, words) select number, substr(hex(new.tenant_id), -3),
        concat_ws(char(10), new.name, new.description) from projects_search_ids where id = new.id;
end;
create trigger projects_search_update after update of name, description on projects begin
    insert or replace into projects_search (rowid, tenant, words) select number, substr(hex(new.tenant_id), -3),
        concat_ws(char(10), new.name, new.description) from projects_search_ids where id = new.id;
end;
create trigger projects_search_delete after delete on projects begin
    delete from projects_search where rowid = (select number from projects_search_ids where id = old.id);
    delete from projects_search_ids where id = old.id;
end;
