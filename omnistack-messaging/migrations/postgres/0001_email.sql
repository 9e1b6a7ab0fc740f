-- A row is an email and its state. The content is only kept until the provider has accepted the email.
create table omni_email_messages (
    id uuid primary key,
    tenant_id uuid,
    recipients text not null,
    subject text not null,
    -- JSON with attachments; null after the email was sent or skipped.
    content text,
    state text not null check (state in ('queued', 'sent', 'skipped', 'failed')),
    -- Recipients that were left out, or why the email was not sent.
    reason text,
    provider text,
    provider_id text,
    created_at timestamptz not null,
    finished_at timestamptz
);
create index omni_email_messages_finished_at_idx on omni_email_messages (finished_at) where finished_at is not null;
-- An email contains data of its tenant, so a transaction of a tenant only sees and changes emails of that tenant.
-- Emails may also be inserted by transactions that can't read them: those for a tenant by transactions of the
-- tenant or of the app, others by any transaction. The worker sends with all tenants visible.
alter table omni_email_messages enable row level security;
alter table omni_email_messages force row level security;
create policy tenant on omni_email_messages using (omnistack_visible(tenant_id));
create policy record on omni_email_messages for insert
    with check (omnistack_may_record(coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')));

-- A row is an address to which no email is sent. It belongs to no tenant, since an address is the same for all
-- senders.
create table omni_email_suppressions (
    address text primary key,
    reason text not null check (reason in ('bounce', 'complaint', 'manual')),
    detail text,
    created_at timestamptz not null
);
create index omni_email_suppressions_newest on omni_email_suppressions (created_at desc, address desc);

-- A row is the id of a provider's event that was processed, so that none is processed twice.
create table omni_email_events (
    provider text not null,
    id text not null,
    received_at timestamptz not null,
    primary key (provider, id)
);
create index omni_email_events_received_at_idx on omni_email_events (received_at);

-- A row is the number of emails that requests without a sign-in have caused to a mailbox, by its hash.
create table omni_email_recipients (
    recipient bytea primary key,
    mails bigint not null,
    last_at timestamptz not null
);
create index omni_email_recipients_last_at_idx on omni_email_recipients (last_at);

-- A row is a template that a tenant has overridden.
create table omni_email_templates (
    tenant_id uuid not null,
    name text not null,
    locale text not null,
    source text not null,
    updated_at timestamptz not null,
    primary key (tenant_id, name, locale)
);
alter table omni_email_templates enable row level security;
alter table omni_email_templates force row level security;
create policy tenant on omni_email_templates using (omnistack_visible(tenant_id));
