create table users (
    id                uuid primary key,
    -- In lower case; none for whom an identity provider told none.
    email             text unique,
    email_verified_at timestamptz,
    -- PHC string; none for who signs in otherwise.
    password_hash     text,
    name              text not null,
    picture           text,
    locale            text,
    -- Operates the whole app.
    operator          boolean not null,
    disabled_at       timestamptz,
    -- When it is deleted for good, once its user has asked for that.
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

-- Who signs in elsewhere: the subject is only unique within its issuer.
create table identities (
    issuer     text not null,
    subject    text not null,
    user_id    uuid not null references users on delete cascade,
    -- Hash of the claims last taken over.
    claims     bytea not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (issuer, subject)
);

create index identities_of_user on identities (user_id);

create table tenants (
    id           uuid primary key,
    name         text not null,
    -- Of subdomains.
    slug         text not null unique,
    -- Whose own it is; none for a team's.
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
    -- `owner`, `admin`, `developer`, `viewer`, or the name of one of the tenant's own.
    role       text not null,
    created_at timestamptz not null,
    primary key (tenant_id, user_id)
);

create index members_of_user on members (user_id);

-- A role of a tenant's own making.
create table roles (
    tenant_id   uuid not null references tenants on delete cascade,
    name        text not null,
    -- Separated by spaces.
    permissions text not null,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    primary key (tenant_id, name)
);

create table sessions (
    id            uuid primary key,
    user_id       uuid not null references users on delete cascade,
    -- The tenant chosen.
    tenant_id     uuid references tenants on delete set null,
    -- Who acts as the user, when an operator does, and why.
    actor_id      uuid references users on delete cascade,
    reason        text,
    user_agent    text,
    address       text,
    -- When the user last showed who they are, and whether with a second factor.
    proof_at      timestamptz not null,
    second_factor boolean not null,
    -- The key of this session's refresh tokens, sealed; the hash of the one that is good and of the one before.
    refresh_key   text not null,
    refresh_hash  bytea not null,
    previous_hash bytea,
    rotated_at    timestamptz not null,
    created_at    timestamptz not null,
    -- However often it is refreshed.
    expires_at    timestamptz not null,
    ended_at      timestamptz
);

create index sessions_of_user on sessions (user_id, created_at);
create index sessions_of_actor on sessions (actor_id) where actor_id is not null;
create index sessions_by_expiry on sessions (expires_at);

-- What is sent by mail and good once: its hash, what for, and what it carries.
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

-- The keys access tokens are signed with.
create table signing_keys (
    id         text primary key,
    -- PKCS #8, sealed.
    private    text not null,
    -- Its JWK.
    public     text not null,
    -- Published before it signs, and for as long as a token may be good after it has.
    signs_from timestamptz not null,
    created_at timestamptz not null
);

alter table members enable row level security;
alter table members force row level security;
create policy tenant on members using (omnistack_visible(tenant_id));
alter table roles enable row level security;
alter table roles force row level security;
create policy tenant on roles using (omnistack_visible(tenant_id));
