-- A row is a message from the contact form. It belongs to no tenant: visitors belong to none, and operators reply.
create table omni_contact_messages (
    id uuid primary key,
    -- The reference that the visitor is given for the message.
    reference text not null unique,
    name text not null,
    email text not null,
    subject text,
    phone text,
    company text,
    message text not null,
    -- A JSON object of strings, numbers and booleans.
    extra_fields text not null,
    source text,
    locale text not null,
    address text,
    status text not null check (status in ('new', 'open', 'answered', 'closed', 'spam')),
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index omni_contact_messages_status_idx on omni_contact_messages (status, id);
create index omni_contact_messages_created_at_idx on omni_contact_messages (created_at);
