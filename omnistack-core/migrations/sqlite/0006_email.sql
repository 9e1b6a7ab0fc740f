-- See the same file for PostgreSQL.
create table email_messages (
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
create index email_messages_finished_at_idx on email_messages (finished_at) where finished_at is not null;

-- Addresses to which no email is sent. They belong to no tenant, since an address is the same for all senders.
create table email_suppressions (
    address text primary key not null,
    reason text not null check (reason in ('bounce', 'complaint', 'manual')),
    detail text,
    created_at text not null
) strict;
create index email_suppressions_newest on email_suppressions (created_at desc, address desc);

-- Events of providers that were processed, so that none is processed twice.
create table email_events (
    provider text not null,
    id text not null,
    received_at text not null,
    primary key (provider, id)
) strict;
create index email_events_received_at_idx on email_events (received_at);

-- Number of emails that requests without a sign-in have caused to a mailbox, by its hash.
create table email_recipients (
    recipient blob primary key not null,
    mails integer not null,
    last_at text not null
) strict;
create index email_recipients_last_at_idx on email_recipients (last_at);

-- Templates that tenants have overridden.
create table email_templates (
    tenant_id blob not null,
    name text not null,
    locale text not null,
    source text not null,
    updated_at text not null,
    primary key (tenant_id, name, locale)
) strict;
