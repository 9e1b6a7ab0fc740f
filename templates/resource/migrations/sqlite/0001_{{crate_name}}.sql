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

-- For `?q=`: on PostgreSQL `omnistack_search` makes the same.
create table {{crate_name}}_search_ids (number integer primary key, id blob not null unique) strict;
create virtual table {{crate_name}}_search using fts5(
    tenant, words, content = '', contentless_delete = 1, tokenize = 'trigram', detail = 'column');
create trigger {{crate_name}}_search_insert after insert on {{crate_name}} begin
    insert into {{crate_name}}_search_ids (id) values (new.id);
    insert into {{crate_name}}_search (rowid, tenant, words) select number, substr(hex(new.tenant_id), -3),
        concat_ws(char(10), new.title, new.description) from {{crate_name}}_search_ids where id = new.id;
end;
create trigger {{crate_name}}_search_update after update of title, description on {{crate_name}} begin
    insert or replace into {{crate_name}}_search (rowid, tenant, words) select number, substr(hex(new.tenant_id), -3),
        concat_ws(char(10), new.title, new.description) from {{crate_name}}_search_ids where id = new.id;
end;
create trigger {{crate_name}}_search_delete after delete on {{crate_name}} begin
    delete from {{crate_name}}_search where rowid = (select number from {{crate_name}}_search_ids where id = old.id);
    delete from {{crate_name}}_search_ids where id = old.id;
end;
