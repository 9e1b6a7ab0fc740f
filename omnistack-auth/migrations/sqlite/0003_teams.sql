-- Pending invitations. A row is deleted when the invitation is accepted or revoked; the audit log records both.
create table invitations (
    id         blob primary key not null,
    tenant_id  blob not null references tenants on delete cascade,
    -- The recipient, in lower case.
    email      text not null,
    role       text not null,
    -- The hash of the token in the mail, and the token itself, sealed, from which the mail is composed.
    hash       blob not null unique,
    secret     text not null,
    invited_by blob references users on delete set null,
    sent_at    text not null,
    created_at text not null,
    expires_at text not null,
    unique (tenant_id, email)
) strict;

create index invitations_by_expiry on invitations (expires_at);
create index tenants_by_deletion on tenants (delete_at) where delete_at is not null;
