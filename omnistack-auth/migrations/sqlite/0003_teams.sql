-- Who was asked to join. Gone when it is accepted or revoked; the audit log keeps that it was.
create table invitations (
    id         blob primary key not null,
    tenant_id  blob not null references tenants on delete cascade,
    -- In lower case.
    email      text not null,
    role       text not null,
    -- Of the token in the mail, and the token itself, sealed, for the mail alone.
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
