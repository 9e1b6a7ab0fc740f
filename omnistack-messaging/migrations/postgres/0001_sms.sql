-- A row is an SMS message and its state. The text is only kept until the provider has accepted the message or it is
-- given up, since it may be a code.
create table omni_sms_messages (
    id uuid primary key,
    tenant_id uuid,
    recipient text not null,
    -- JSON; null after the message was sent or given up.
    content text,
    segments bigint not null,
    state text not null check (state in
        ('queued', 'sending', 'sent', 'delivered', 'undelivered', 'skipped', 'failed', 'unknown')),
    reason text,
    provider text,
    provider_id text,
    created_at timestamptz not null,
    finished_at timestamptz
);
create index omni_sms_messages_provider_id_idx on omni_sms_messages (provider, provider_id) where provider_id is not null;
create index omni_sms_messages_finished_at_idx on omni_sms_messages (finished_at) where finished_at is not null;
alter table omni_sms_messages enable row level security;
alter table omni_sms_messages force row level security;
create policy tenant on omni_sms_messages using (omnistack_visible(tenant_id));
-- Like emails: may also be inserted by transactions that can't read them.
create policy record on omni_sms_messages for insert
    with check (omnistack_may_record(coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')));

-- A row is a number to which no message is sent. It belongs to no tenant, since a number is the same for all senders.
create table omni_sms_suppressions (
    number text primary key,
    reason text not null check (reason in ('opt_out', 'manual')),
    detail text,
    created_at timestamptz not null
);
create index omni_sms_suppressions_newest on omni_sms_suppressions (created_at desc, number desc);
