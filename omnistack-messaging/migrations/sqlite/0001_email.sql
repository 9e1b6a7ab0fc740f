-- A row is an email and its state. The content is only kept until the provider has accepted the email.
create table omni_email_messages (
    id blob primary key not null,
    tenant_id blob,
    recipients text not null,
    subject text not null,
    -- JSON with attachments; null after the email was sent or skipped.
    content text,
    state text not null check (state in ('queued', 'sent', 'skipped', 'failed')),
    -- Recipients that were left out, or why the email was not sent.
    reason text,
    provider text,
    provider_id text,
    created_at text not null,
    finished_at text
) strict;
create index omni_email_messages_finished_at_idx on omni_email_messages (finished_at) where finished_at is not null;

-- A row is an address to which no email is sent. It belongs to no tenant, since an address is the same for all
-- senders.
create table omni_email_suppressions (
    address text primary key not null,
    reason text not null check (reason in ('bounce', 'complaint', 'manual')),
    detail text,
    created_at text not null
) strict;
create index omni_email_suppressions_newest on omni_email_suppressions (created_at desc, address desc);

-- A row is the id of a provider's event that was processed, so that none is processed twice.
create table omni_email_events (
    provider text not null,
    id text not null,
    received_at text not null,
    primary key (provider, id)
) strict;
create index omni_email_events_received_at_idx on omni_email_events (received_at);

-- A row is the number of emails that requests without a sign-in have caused to a mailbox, by its hash.
create table omni_email_recipients (
    recipient blob primary key not null,
    mails integer not null,
    last_at text not null
) strict;
create index omni_email_recipients_last_at_idx on omni_email_recipients (last_at);

-- A row is a template that a tenant has overridden.
create table omni_email_templates (
    tenant_id blob not null,
    name text not null,
    locale text not null,
    source text not null,
    updated_at text not null,
    primary key (tenant_id, name, locale)
) strict;
