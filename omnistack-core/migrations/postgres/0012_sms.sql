-- Text messages on their way, and what became of them. The text is kept until the message is handed over or given up, and no
-- longer: it may be a code.
create table sms_messages (
    id uuid primary key,
    tenant_id uuid,
    recipient text not null,
    -- JSON; null once nothing is to be sent any more.
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
create index sms_messages_provider_id_idx on sms_messages (provider, provider_id) where provider_id is not null;
create index sms_messages_finished_at_idx on sms_messages (finished_at) where finished_at is not null;
alter table sms_messages enable row level security;
alter table sms_messages force row level security;
create policy tenant on sms_messages using (omnistack_visible(tenant_id));
-- As of mails: put there also by transactions that can't read them.
create policy record on sms_messages for insert
    with check (omnistack_may_record(coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')));

-- Numbers no message is sent to. A number is the same whoever writes to it, so these are no tenant's.
create table sms_suppressions (
    number text primary key,
    reason text not null check (reason in ('opt_out', 'manual')),
    detail text,
    created_at timestamptz not null
);
create index sms_suppressions_newest on sms_suppressions (created_at desc, number desc);
