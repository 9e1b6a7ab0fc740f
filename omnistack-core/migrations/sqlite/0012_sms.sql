-- See the same file for PostgreSQL.
create table sms_messages (
    id blob primary key not null,
    tenant_id blob,
    recipient text not null,
    -- JSON; null after the message was sent or given up.
    content text,
    segments integer not null,
    state text not null check (state in
        ('queued', 'sending', 'sent', 'delivered', 'undelivered', 'skipped', 'failed', 'unknown')),
    reason text,
    provider text,
    provider_id text,
    created_at text not null,
    finished_at text
) strict;
create index sms_messages_provider_id_idx on sms_messages (provider, provider_id) where provider_id is not null;
create index sms_messages_finished_at_idx on sms_messages (finished_at) where finished_at is not null;

-- Numbers to which no message is sent. They belong to no tenant, since a number is the same for all senders.
create table sms_suppressions (
    number text primary key not null,
    reason text not null check (reason in ('opt_out', 'manual')),
    detail text,
    created_at text not null
) strict;
create index sms_suppressions_newest on sms_suppressions (created_at desc, number desc);
