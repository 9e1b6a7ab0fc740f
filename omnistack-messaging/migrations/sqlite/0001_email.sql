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
