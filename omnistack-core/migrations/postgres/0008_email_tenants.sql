-- An email contains data of its tenant, so a transaction of a tenant only sees and changes emails of that tenant.
-- Emails may also be inserted by transactions that can't read them: those for a tenant by transactions of the
-- tenant or of the app, others by any transaction. The worker sends with all tenants visible.
alter table email_messages enable row level security;
alter table email_messages force row level security;
create policy tenant on email_messages using (omnistack_visible(tenant_id));
create policy record on email_messages for insert
    with check (omnistack_may_record(coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')));
