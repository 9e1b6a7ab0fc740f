create table users (
    id                blob primary key not null,
    -- In lower case; null if the identity provider asserts none.
    email             text unique,
    email_verified_at text,
    -- A PHC string; null if the user has no password.
    password_hash     text,
    name              text not null,
    picture           text,
    locale            text,
    -- Whether the user administers the whole app.
    operator          integer not null,
    disabled_at       text,
    -- The time of permanent deletion, if the user has requested it.
    delete_at         text,
    created_at        text not null,
    updated_at        text not null
) strict;

create index users_by_creation on users (created_at, id);
create index users_by_email on users (email, id);
create index users_by_name on users (name, id);
create index users_operators on users (created_at, id) where operator;
create index users_disabled on users (created_at, id) where disabled_at is not null;
create table users_search_ids (number integer primary key, id blob not null unique) strict;
create virtual table users_search using fts5(
    tenant, words, content = '', contentless_delete = 1, tokenize = 'trigram', detail = 'column');
create trigger users_search_insert after insert on users begin
    insert into users_search_ids (id) values (new.id);
    insert into users_search (rowid, tenant, words) select number, null,
        concat_ws(char(10), new.name, new.email) from users_search_ids where id = new.id;
end;
create trigger users_search_update after update of name, email on users begin
    insert or replace into users_search (rowid, tenant, words) select number, null,
        concat_ws(char(10), new.name, new.email) from users_search_ids where id = new.id;
end;
create trigger users_search_delete after delete on users begin
    delete from users_search where rowid = (select number from users_search_ids where id = old.id);
    delete from users_search_ids where id = old.id;
end;

-- Linked identities. A subject is unique only within its issuer.
create table identities (
    issuer     text not null,
    subject    text not null,
    user_id    blob not null references users on delete cascade,
    -- The hash of the claims stored last.
    claims     blob not null,
    created_at text not null,
    updated_at text not null,
    primary key (issuer, subject)
) strict;

create index identities_of_user on identities (user_id);

create table tenants (
    id           blob primary key not null,
    name         text not null,
    -- The name in URLs and subdomains.
    slug         text not null unique,
    -- The user whose personal tenant this is; null for a team.
    personal_of  blob unique references users on delete cascade,
    suspended_at text,
    delete_at    text,
    created_at   text not null,
    updated_at   text not null
) strict;

create index tenants_by_creation on tenants (created_at, id);
create index tenants_by_name on tenants (name, id);
create index tenants_suspended on tenants (created_at, id) where suspended_at is not null;
create index tenants_of_teams on tenants (created_at, id) where personal_of is null;
create table tenants_search_ids (number integer primary key, id blob not null unique) strict;
create virtual table tenants_search using fts5(
    tenant, words, content = '', contentless_delete = 1, tokenize = 'trigram', detail = 'column');
create trigger tenants_search_insert after insert on tenants begin
    insert into tenants_search_ids (id) values (new.id);
    insert into tenants_search (rowid, tenant, words) select number, null,
        concat_ws(char(10), new.name, new.slug) from tenants_search_ids where id = new.id;
end;
create trigger tenants_search_update after update of name, slug on tenants begin
    insert or replace into tenants_search (rowid, tenant, words) select number, null,
        concat_ws(char(10), new.name, new.slug) from tenants_search_ids where id = new.id;
end;
create trigger tenants_search_delete after delete on tenants begin
    delete from tenants_search where rowid = (select number from tenants_search_ids where id = old.id);
    delete from tenants_search_ids where id = old.id;
end;

create table members (
    tenant_id  blob not null references tenants on delete cascade,
    user_id    blob not null references users on delete cascade,
    -- `owner`, `admin`, `developer`, `viewer`, or the name of a custom role.
    role       text not null,
    created_at text not null,
    primary key (tenant_id, user_id)
) strict;

create index members_of_user on members (user_id);

-- Custom roles.
create table roles (
    tenant_id   blob not null references tenants on delete cascade,
    name        text not null,
    -- Permissions, separated by spaces.
    permissions text not null,
    created_at  text not null,
    updated_at  text not null,
    primary key (tenant_id, name)
) strict;

create table sessions (
    id            blob primary key not null,
    user_id       blob not null references users on delete cascade,
    -- The current tenant.
    tenant_id     blob references tenants on delete set null,
    -- The operator who impersonates the user, and the reason; null otherwise.
    actor_id      blob references users on delete cascade,
    reason        text,
    user_agent    text,
    address       text,
    -- The time of the user's last proof of identity, and whether it included a second factor.
    proof_at      text not null,
    second_factor integer not null,
    -- The key of this session's refresh tokens, sealed; the hash of the current token and of the previous one.
    refresh_key   text not null,
    refresh_hash  blob not null,
    previous_hash blob,
    rotated_at    text not null,
    created_at    text not null,
    -- The end of the session, however often it is refreshed.
    expires_at    text not null,
    ended_at      text
) strict;

create index sessions_of_user on sessions (user_id, created_at);
create index sessions_of_actor on sessions (actor_id) where actor_id is not null;
create index sessions_by_expiry on sessions (expires_at);

-- One-time tokens: the hash, the purpose, and the data of each.
create table one_time_tokens (
    hash       blob primary key not null,
    purpose    text not null,
    user_id    blob references users on delete cascade,
    data       text,
    created_at text not null,
    expires_at text not null
) strict;

create index one_time_tokens_of_user on one_time_tokens (user_id, purpose);
create index one_time_tokens_by_expiry on one_time_tokens (expires_at);

-- The keys that sign access tokens.
create table signing_keys (
    id         text primary key not null,
    -- The private key in PKCS #8, sealed.
    private    text not null,
    -- The public key as a JSON Web Key.
    public     text not null,
    -- The key is published before this time, and afterwards for as long as its tokens can be valid.
    signs_from text not null,
    created_at text not null
) strict;
