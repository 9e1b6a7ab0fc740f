-- A row is a mail or a text message, and its state. The content is only kept until the provider has accepted the
-- message, since it may be a code.
create table omni_messages (
    id uuid primary key,
    channel text not null,
    tenant_id uuid,
    -- Mailboxes, separated by commas, or a telephone number.
    recipients text not null,
    -- Mails only.
    subject text,
    -- Text messages only.
    segments bigint,
    -- JSON with attachments; null after the message was sent or skipped. Only a failed mail keeps it.
    content text,
    state text not null check (state in
        ('queued', 'sending', 'sent', 'delivered', 'undelivered', 'skipped', 'failed', 'unknown')),
    -- Recipients that were left out, or why the message was not sent or not delivered.
    reason text,
    provider text,
    provider_id text,
    created_at timestamptz not null,
    finished_at timestamptz
);
create index omni_messages_finished_at_idx on omni_messages (channel, finished_at) where finished_at is not null;
create index omni_messages_provider_id_idx on omni_messages (provider, provider_id) where provider_id is not null;
create index omni_messages_tenant_id_idx on omni_messages (tenant_id, id) where tenant_id is not null;
-- A message contains data of its tenant, so a transaction of a tenant only sees and changes messages of that tenant.
-- Messages may also be inserted by transactions that can't read them: those for a tenant by transactions of the
-- tenant or of the app, others by any transaction. The worker sends with all tenants visible.
alter table omni_messages enable row level security;
alter table omni_messages force row level security;
create policy tenant on omni_messages using (omnistack_visible(tenant_id));
create policy record on omni_messages for insert
    with check (omnistack_may_record(coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')));

-- A row is an address or a number to which no message is sent. It belongs to no tenant, since a recipient is the same
-- for all senders.
create table omni_suppressions (
    channel text not null,
    recipient text not null,
    reason text not null check (reason in ('bounce', 'complaint', 'opt_out', 'manual')),
    detail text,
    created_at timestamptz not null,
    primary key (channel, recipient)
);
create index omni_suppressions_newest on omni_suppressions (channel, created_at desc, recipient desc);
