-- Pending invitations. A row is deleted when the invitation is accepted or revoked; the audit log records both.
create table invitations (
    id         uuid primary key,
    tenant_id  uuid not null references tenants on delete cascade,
    -- The recipient, in lower case.
    email      text not null,
    role       text not null,
    -- The hash of the token in the mail, and the token itself, sealed, from which the mail is composed.
    hash       bytea not null unique,
    secret     text not null,
    invited_by uuid references users on delete set null,
    sent_at    timestamptz not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    unique (tenant_id, email)
);

create index invitations_by_expiry on invitations (expires_at);
create index tenants_by_deletion on tenants (delete_at) where delete_at is not null;

alter table invitations enable row level security;
alter table invitations force row level security;
create policy tenant on invitations using (omnistack_visible(tenant_id));
