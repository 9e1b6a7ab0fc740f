-- Whether rows of a tenant are visible to this transaction: those of the tenant it was begun for (`Db::tenant`), or all
-- (`Db::all_tenants`). For the policies of tenant tables:
--
--   alter table projects enable row level security;
--   alter table projects force row level security;
--   create policy tenant on projects using (omnistack_visible(tenant_id));
create function omnistack_visible(tenant uuid) returns boolean
    language sql stable parallel safe
    return case current_setting('omnistack.tenant', true)
        when '*' then true
        when '' then false
        else tenant = current_setting('omnistack.tenant', true)::uuid
    end;
