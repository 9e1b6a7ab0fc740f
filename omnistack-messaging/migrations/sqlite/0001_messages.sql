-- A row is a mail or a text message, and its state. The content is only kept until the provider has accepted the
-- message, since it may be a code.
create table omni_messages (
    id blob primary key not null,
    channel text not null,
    tenant_id blob,
    -- Mailboxes, separated by commas, or a telephone number.
    recipients text not null,
    -- Mails only.
    subject text,
    -- Text messages only.
    segments integer,
    -- JSON with attachments; null after the message was sent or skipped. Only a failed mail keeps it.
    content text,
    state text not null check (state in
        ('queued', 'sending', 'sent', 'delivered', 'undelivered', 'skipped', 'failed', 'unknown')),
    -- Recipients that were left out, or why the message was not sent or not delivered.
    reason text,
    provider text,
    provider_id text,
    created_at text not null,
    finished_at text
) strict;
create index omni_messages_finished_at_idx on omni_messages (channel, finished_at) where finished_at is not null;
create index omni_messages_provider_id_idx on omni_messages (provider, provider_id) where provider_id is not null;
create index omni_messages_tenant_id_idx on omni_messages (tenant_id, id) where tenant_id is not null;

-- A row is an address or a number to which no message is sent. It belongs to no tenant, since a recipient is the same
-- for all senders.
create table omni_suppressions (
    channel text not null,
    recipient text not null,
    reason text not null check (reason in ('bounce', 'complaint', 'opt_out', 'manual')),
    detail text,
    created_at text not null,
    primary key (channel, recipient)
) strict;
create index omni_suppressions_newest on omni_suppressions (channel, created_at desc, recipient desc);
