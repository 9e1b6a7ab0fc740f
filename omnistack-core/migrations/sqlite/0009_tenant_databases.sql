-- For apps in which each tenant has a separate database. See the same file for PostgreSQL.
create table tenant_databases (
    tenant_id blob primary key not null,
    made_at text not null,
    left_at text,
    removed_at text
) strict;
create index tenant_databases_leaving on tenant_databases (left_at) where removed_at is null;

create table tenant_outbox (
    seq integer primary key autoincrement,
    tenant_id blob not null,
    kind text not null,
    content text not null,
    created_at text not null
) strict;
create index tenant_outbox_of_tenant on tenant_outbox (tenant_id, seq);

create table tenant_inbox (
    id blob not null,
    receiver text not null,
    created_at text not null,
    primary key (id, receiver)
) strict;
create index tenant_inbox_created_at_idx on tenant_inbox (created_at);
