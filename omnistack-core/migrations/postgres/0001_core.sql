-- Returns whether rows of a tenant are visible to this transaction: those of the tenant it was begun for
-- (`Db::tenant`), or all (`Db::all_tenants`). For the policies of tenant tables, see `omnistack_protect`.
create function omnistack_visible(tenant uuid) returns boolean
    language sql stable parallel safe
    return case current_setting('omnistack.tenant', true)
        when '*' then true
        when '' then false
        else tenant = current_setting('omnistack.tenant', true)::uuid
    end;

-- Protects a table with a column `tenant_id`: transactions see, insert and change only rows of their tenant, also those
-- of the table's owner.
--
--   select omnistack_protect('projects');
create function omnistack_protect(protected regclass) returns void language plpgsql as $protect$
begin
    execute format('alter table %s enable row level security', protected);
    execute format('alter table %s force row level security', protected);
    execute format('create policy tenant on %s using (omnistack_visible(tenant_id))', protected);
end $protect$;

-- Returns the trigrams of a text in lower case, each hashed with its owner, so that the index separates the
-- tenants.
create function omnistack_grams(words text, owner text) returns integer[]
    language sql immutable parallel safe
    return (
        select coalesce(array_agg(distinct hashtext(concat(owner, one, two, three))), '{}') from (
            select letter as one, lead(letter) over places as two, lead(letter, 2) over places as three
            from string_to_table(lower(words), null) with ordinality as letters (letter, place) window places as (order by place)
        ) as grams where three is not null
    );

-- Creates the search index of a table's columns, for `?q=`, and the triggers that update it:
--
--   select omnistack_search('projects', 'name', 'description');
--
-- The index is a separate table, `projects_search`, because with row-level security operators of trigrams can't
-- use an index. It holds ids and hashes. The policy of the searched table decides which rows are visible.
create function omnistack_search(searched regclass, variadic columns name[]) returns void language plpgsql as $search$
declare
    place text := (select format('%I.%I', nspname, relname || '_search') from pg_class
        join pg_namespace on pg_namespace.oid = relnamespace where pg_class.oid = searched);
    owner text := case when exists (select from pg_attribute where attrelid = searched and attname = 'tenant_id')
        then 'it.tenant_id::text' else 'null' end;
    words text := (select format('concat_ws(chr(10), %s)', string_agg(format('it.%I', name), ', ')) from unnest(columns) as name);
    changed text := (select string_agg(format('%I', name), ', ') from unnest(columns) as name);
begin
    execute format('create table %s (id uuid primary key, grams integer[] not null)', place);
    -- Without a list of pending entries: a search would read all of it.
    execute format('create index on %s using gin (grams) with (fastupdate = off)', place);
    execute format('insert into %s select it.id, omnistack_grams(%s, %s) from %s as it', place, words, owner, searched);
    execute format($trigger$
        create function %1$s_keep() returns trigger language plpgsql as $keep$
        declare
            it %2$s%%rowtype := new;
        begin
            if tg_op = 'DELETE' then
                delete from %1$s where id = old.id;
            else
                insert into %1$s values (it.id, omnistack_grams(%3$s, %4$s))
                on conflict (id) do update set grams = excluded.grams;
            end if;
            return null;
        end $keep$
    $trigger$, place, searched, words, owner);
    execute format('create trigger search after insert or delete or update of %s on %s for each row execute function %s_keep()',
        changed, searched, place);
end $search$;
