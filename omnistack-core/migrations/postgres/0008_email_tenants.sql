-- A mail says what a tenant's people are told, so a tenant's transaction sees and changes the mails of that tenant alone.
-- Put there also by transactions that can't read them: those for a tenant in their own name or the app's, others for any. The
-- worker sends with all tenants visible.
alter table email_messages enable row level security;
alter table email_messages force row level security;
create policy tenant on email_messages using (omnistack_visible(tenant_id));
create policy record on email_messages for insert
    with check (omnistack_may_record(coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')));
