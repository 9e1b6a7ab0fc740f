-- Emails to send and their states. The table belongs to no tenant: a worker sends the emails of all tenants. The
-- content is only kept until the provider has accepted the email.
create table email_messages (
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
create index email_messages_finished_at_idx on email_messages (finished_at) where finished_at is not null;

-- Addresses to which no email is sent. They belong to no tenant, since an address is the same for all senders.
create table email_suppressions (
    address text primary key,
    reason text not null check (reason in ('bounce', 'complaint', 'manual')),
    detail text,
    created_at timestamptz not null
);
create index email_suppressions_newest on email_suppressions (created_at desc, address desc);

-- Events of providers that were processed, so that none is processed twice.
create table email_events (
    provider text not null,
    id text not null,
    received_at timestamptz not null,
    primary key (provider, id)
);
create index email_events_received_at_idx on email_events (received_at);

-- Number of emails that requests without a sign-in have caused to a mailbox, by its hash.
create table email_recipients (
    recipient bytea primary key,
    mails bigint not null,
    last_at timestamptz not null
);
create index email_recipients_last_at_idx on email_recipients (last_at);

-- Templates that tenants have overridden.
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
