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
