-- Mails on their way, and what became of them. No tenant's table: a worker sends them all. The content is kept until the mail
-- is handed over, and no longer.
create table email_messages (
    id uuid primary key,
    tenant_id uuid,
    recipients text not null,
    subject text not null,
    -- JSON, attachments included; null once it is sent or skipped.
    content text,
    state text not null check (state in ('queued', 'sent', 'skipped', 'failed')),
    -- Recipients left out, or why it was not sent.
    reason text,
    provider text,
    provider_id text,
    created_at timestamptz not null,
    finished_at timestamptz
);
create index email_messages_finished_at_idx on email_messages (finished_at) where finished_at is not null;

-- Addresses no mail is sent to. An address is the same whoever writes to it, so these are no tenant's.
create table email_suppressions (
    address text primary key,
    reason text not null check (reason in ('bounce', 'complaint', 'manual')),
    detail text,
    created_at timestamptz not null
);
create index email_suppressions_newest on email_suppressions (created_at desc, address desc);

-- Events of providers that were heeded, so that none is twice.
create table email_events (
    provider text not null,
    id text not null,
    received_at timestamptz not null,
    primary key (provider, id)
);
create index email_events_received_at_idx on email_events (received_at);

-- How many mails strangers have caused to a mailbox, by its hash.
create table email_recipients (
    recipient bytea primary key,
    mails bigint not null,
    last_at timestamptz not null
);
create index email_recipients_last_at_idx on email_recipients (last_at);

-- Tenants' own versions of templates.
create table email_templates (
    tenant_id uuid not null,
    name text not null,
    locale text not null,
    source text not null,
    updated_at timestamptz not null,
    primary key (tenant_id, name, locale)
);
alter table email_templates enable row level security;
alter table email_templates force row level security;
create policy tenant on email_templates using (omnistack_visible(tenant_id));
