create table users (
    id                blob primary key not null,
    -- In lower case; none for whom an identity provider told none.
    email             text unique,
    email_verified_at text,
    -- PHC string; none for who signs in otherwise.
    password_hash     text,
    name              text not null,
    picture           text,
    locale            text,
    -- Operates the whole app.
    operator          integer not null,
    disabled_at       text,
    -- When it is deleted for good, once its user has asked for that.
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

-- Who signs in elsewhere: the subject is only unique within its issuer.
create table identities (
    issuer     text not null,
    subject    text not null,
    user_id    blob not null references users on delete cascade,
    -- Hash of the claims last taken over.
    claims     blob not null,
    created_at text not null,
    updated_at text not null,
    primary key (issuer, subject)
) strict;

create index identities_of_user on identities (user_id);

create table tenants (
    id           blob primary key not null,
    name         text not null,
    -- Of subdomains.
    slug         text not null unique,
    -- Whose own it is; none for a team's.
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
    -- `owner`, `admin`, `developer`, `viewer`, or the name of one of the tenant's own.
    role       text not null,
    created_at text not null,
    primary key (tenant_id, user_id)
) strict;

create index members_of_user on members (user_id);

-- A role of a tenant's own making.
create table roles (
    tenant_id   blob not null references tenants on delete cascade,
    name        text not null,
    -- Separated by spaces.
    permissions text not null,
    created_at  text not null,
    updated_at  text not null,
    primary key (tenant_id, name)
) strict;

create table sessions (
    id            blob primary key not null,
    user_id       blob not null references users on delete cascade,
    -- The tenant chosen.
    tenant_id     blob references tenants on delete set null,
    -- Who acts as the user, when an operator does, and why.
    actor_id      blob references users on delete cascade,
    reason        text,
    user_agent    text,
    address       text,
    -- When the user last showed who they are, and whether with a second factor.
    proof_at      text not null,
    second_factor integer not null,
    -- The key of this session's refresh tokens, sealed; the hash of the one that is good and of the one before.
    refresh_key   text not null,
    refresh_hash  blob not null,
    previous_hash blob,
    rotated_at    text not null,
    created_at    text not null,
    -- However often it is refreshed.
    expires_at    text not null,
    ended_at      text
) strict;

create index sessions_of_user on sessions (user_id, created_at);
create index sessions_of_actor on sessions (actor_id) where actor_id is not null;
create index sessions_by_expiry on sessions (expires_at);

-- What is sent by mail and good once: its hash, what for, and what it carries.
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

-- The keys access tokens are signed with.
create table signing_keys (
    id         text primary key not null,
    -- PKCS #8, sealed.
    private    text not null,
    -- Its JWK.
    public     text not null,
    -- Published before it signs, and for as long as a token may be good after it has.
    signs_from text not null,
    created_at text not null
) strict;
