create table users (
    id                uuid primary key,
    -- In lower case; null if the identity provider asserts none.
    email             text unique,
    email_verified_at timestamptz,
    -- A PHC string; null if the user has no password.
    password_hash     text,
    name              text not null,
    picture           text,
    locale            text,
    -- Whether the user administers the whole app.
    operator          boolean not null,
    disabled_at       timestamptz,
    -- The time of permanent deletion, if the user has requested it.
    delete_at         timestamptz,
    created_at        timestamptz not null,
    updated_at        timestamptz not null
);

create index users_by_creation on users (created_at, id);
create index users_by_email on users (email, id);
create index users_by_name on users (name, id);
create index users_operators on users (created_at, id) where operator;
create index users_disabled on users (created_at, id) where disabled_at is not null;
select omnistack_search('users', 'name', 'email');

-- Linked identities. A subject is unique only within its issuer.
create table identities (
    issuer     text not null,
    subject    text not null,
    user_id    uuid not null references users on delete cascade,
    -- The hash of the claims stored last.
    claims     bytea not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (issuer, subject)
);

create index identities_of_user on identities (user_id);

create table tenants (
    id           uuid primary key,
    name         text not null,
    -- The name in URLs and subdomains.
    slug         text not null unique,
    -- The user whose personal tenant this is; null for a team.
    personal_of  uuid unique references users on delete cascade,
    suspended_at timestamptz,
    delete_at    timestamptz,
    created_at   timestamptz not null,
    updated_at   timestamptz not null
);

create index tenants_by_creation on tenants (created_at, id);
create index tenants_by_name on tenants (name, id);
create index tenants_suspended on tenants (created_at, id) where suspended_at is not null;
create index tenants_of_teams on tenants (created_at, id) where personal_of is null;
select omnistack_search('tenants', 'name', 'slug');

create table members (
    tenant_id  uuid not null references tenants on delete cascade,
    user_id    uuid not null references users on delete cascade,
    -- `owner`, `admin`, `developer`, `viewer`, or the name of a custom role.
    role       text not null,
    created_at timestamptz not null,
    primary key (tenant_id, user_id)
);

create index members_of_user on members (user_id);

-- Custom roles.
create table roles (
    tenant_id   uuid not null references tenants on delete cascade,
    name        text not null,
    -- Permissions, separated by spaces.
    permissions text not null,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    primary key (tenant_id, name)
);

create table sessions (
    id            uuid primary key,
    user_id       uuid not null references users on delete cascade,
    -- The current tenant.
    tenant_id     uuid references tenants on delete set null,
    -- The operator who impersonates the user, and the reason; null otherwise.
    actor_id      uuid references users on delete cascade,
    reason        text,
    user_agent    text,
    address       text,
    -- The time of the user's last proof of identity, and whether it included a second factor.
    proof_at      timestamptz not null,
    second_factor boolean not null,
    -- The key of this session's refresh tokens, sealed; the hash of the current token and of the previous one.
    refresh_key   text not null,
    refresh_hash  bytea not null,
    previous_hash bytea,
    rotated_at    timestamptz not null,
    created_at    timestamptz not null,
    -- The end of the session, however often it is refreshed.
    expires_at    timestamptz not null,
    ended_at      timestamptz
);

create index sessions_of_user on sessions (user_id, created_at);
create index sessions_of_actor on sessions (actor_id) where actor_id is not null;
create index sessions_by_expiry on sessions (expires_at);

-- One-time tokens: the hash, the purpose, and the data of each.
create table one_time_tokens (
    hash       bytea primary key,
    purpose    text not null,
    user_id    uuid references users on delete cascade,
    data       text,
    created_at timestamptz not null,
    expires_at timestamptz not null
);

create index one_time_tokens_of_user on one_time_tokens (user_id, purpose);
create index one_time_tokens_by_expiry on one_time_tokens (expires_at);

-- The keys that sign access tokens.
create table signing_keys (
    id         text primary key,
    -- The private key in PKCS #8, sealed.
    private    text not null,
    -- The public key as a JSON Web Key.
    public     text not null,
    -- The key is published before this time, and afterwards for as long as its tokens can be valid.
    signs_from timestamptz not null,
    created_at timestamptz not null
);

alter table members enable row level security;
alter table members force row level security;
create policy tenant on members using (omnistack_visible(tenant_id));
alter table roles enable row level security;
alter table roles force row level security;
create policy tenant on roles using (omnistack_visible(tenant_id));
