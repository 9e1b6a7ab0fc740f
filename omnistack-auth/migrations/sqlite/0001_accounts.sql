-- A row is a user.
create table omni_users (
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

create index omni_users_by_creation on omni_users (created_at, id);
create index omni_users_by_email on omni_users (email, id);
create index omni_users_by_name on omni_users (name, id);
create index omni_users_operators on omni_users (created_at, id) where operator;
create index omni_users_disabled on omni_users (created_at, id) where disabled_at is not null;
create index omni_users_by_deletion on omni_users (delete_at) where delete_at is not null;
select omnistack_search('omni_users', 'name', 'email');

-- A row is a linked identity of a user. A subject is unique only within its issuer.
create table omni_identities (
    issuer     text not null,
    subject    text not null,
    user_id    blob not null references omni_users on delete cascade,
    -- The hash of the claims stored last.
    claims     blob not null,
    created_at text not null,
    updated_at text not null,
    primary key (issuer, subject)
) strict;

create index omni_identities_of_user on omni_identities (user_id);

-- A row is a tenant: a team, or the personal tenant of a user.
create table omni_tenants (
    id           blob primary key not null,
    name         text not null,
    -- The name in URLs and subdomains.
    slug         text not null unique,
    -- The user whose personal tenant this is; null for a team.
    personal_of  blob unique references omni_users on delete cascade,
    suspended_at text,
    delete_at    text,
    created_at   text not null,
    updated_at   text not null
) strict;

create index omni_tenants_by_creation on omni_tenants (created_at, id);
create index omni_tenants_by_name on omni_tenants (name, id);
create index omni_tenants_suspended on omni_tenants (created_at, id) where suspended_at is not null;
create index omni_tenants_of_teams on omni_tenants (created_at, id) where personal_of is null;
create index omni_tenants_by_deletion on omni_tenants (delete_at) where delete_at is not null;
select omnistack_search('omni_tenants', 'name', 'slug');

-- A row is the membership of a user in a tenant.
create table omni_members (
    tenant_id  blob not null references omni_tenants on delete cascade,
    user_id    blob not null references omni_users on delete cascade,
    -- `owner`, `admin`, `developer`, `viewer`, or the name of a custom role.
    role       text not null,
    created_at text not null,
    primary key (tenant_id, user_id)
) strict;

create index omni_members_of_user on omni_members (user_id);

-- A row is a custom role of a tenant.
create table omni_roles (
    tenant_id   blob not null references omni_tenants on delete cascade,
    name        text not null,
    -- Permissions, separated by spaces.
    permissions text not null,
    created_at  text not null,
    updated_at  text not null,
    primary key (tenant_id, name)
) strict;

-- A row is a session: a sign-in of a user on one device.
create table omni_sessions (
    id            blob primary key not null,
    user_id       blob not null references omni_users on delete cascade,
    -- The current tenant.
    tenant_id     blob references omni_tenants on delete set null,
    -- The operator who impersonates the user, and the reason; null otherwise.
    actor_id      blob references omni_users on delete cascade,
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

create index omni_sessions_of_user on omni_sessions (user_id, created_at);
create index omni_sessions_of_actor on omni_sessions (actor_id) where actor_id is not null;
create index omni_sessions_by_expiry on omni_sessions (expires_at);

-- A row is a one-time token: its hash, its purpose and its data.
create table omni_one_time_tokens (
    hash       blob primary key not null,
    purpose    text not null,
    user_id    blob references omni_users on delete cascade,
    data       text,
    created_at text not null,
    expires_at text not null
) strict;

create index omni_one_time_tokens_of_user on omni_one_time_tokens (user_id, purpose);
create index omni_one_time_tokens_by_expiry on omni_one_time_tokens (expires_at);

-- A row is a key that signs access tokens.
create table omni_signing_keys (
    id         text primary key not null,
    -- The private key in PKCS #8, sealed.
    private    text not null,
    -- The public key as a JSON Web Key.
    public     text not null,
    -- The key is published before this time, and afterwards for as long as its tokens can be valid.
    signs_from text not null,
    created_at text not null
) strict;

-- A row is an attempt counter: of wrong passwords of an account or from a client address, or of mails to a recipient.
create table omni_attempts (
    -- The hash of the kind of attempt and of its subject.
    key           blob primary key not null,
    failures      integer not null,
    blocked_until text,
    last_at       text not null
) strict;

create index omni_attempts_by_last on omni_attempts (last_at);

-- A row is a pending invitation. It is deleted when the invitation is accepted or revoked; the audit log records both.
create table omni_invitations (
    id         blob primary key not null,
    tenant_id  blob not null references omni_tenants on delete cascade,
    -- The recipient, in lower case.
    email      text not null,
    role       text not null,
    -- The hash of the token in the mail, and the token itself, sealed, from which the mail is composed.
    hash       blob not null unique,
    secret     text not null,
    invited_by blob references omni_users on delete set null,
    sent_at    text not null,
    created_at text not null,
    expires_at text not null,
    unique (tenant_id, email)
) strict;

create index omni_invitations_by_expiry on omni_invitations (expires_at);

-- A row is an API key of a tenant.
create table omni_api_keys (
    id             blob primary key not null,
    tenant_id      blob not null references omni_tenants on delete cascade,
    -- The user who created the key, and in whose name it calls.
    user_id        blob not null references omni_users on delete cascade,
    name           text not null,
    -- The beginning of the secret, to recognise the key by.
    hint           text not null,
    hash           blob not null unique,
    -- The hash of the secret before the last rotation, and the time until which it is valid.
    previous_hash  blob unique,
    previous_until text,
    -- Permissions, separated by spaces.
    scopes         text not null,
    last_used_at   text,
    created_at     text not null,
    rotated_at     text not null,
    expires_at     text
) strict;

create index omni_api_keys_of_tenant on omni_api_keys (tenant_id, id);
create index omni_api_keys_of_user on omni_api_keys (user_id);
create index omni_api_keys_by_expiry on omni_api_keys (expires_at) where expires_at is not null;

-- A row is the TOTP secret of a user. It is a second factor once its first code was confirmed.
create table omni_totp_secrets (
    user_id      blob primary key not null references omni_users on delete cascade,
    -- The secret, sealed.
    secret       text not null,
    confirmed_at text,
    -- The 30-second time step of the code used last. Codes of this and of earlier steps are refused.
    last_step    integer,
    created_at   text not null
) strict;

-- A row is a recovery code of a user. It replaces a TOTP code once; the row is deleted when it is used.
create table omni_recovery_codes (
    -- The hash of a code of 125 random bits.
    hash       blob primary key not null,
    user_id    blob not null references omni_users on delete cascade,
    created_at text not null
) strict;

create index omni_recovery_codes_of_user on omni_recovery_codes (user_id);

-- A row is a passkey of a user (WebAuthn).
create table omni_passkeys (
    id            blob primary key not null,
    user_id       blob not null references omni_users on delete cascade,
    -- The credential id of the device.
    credential_id blob not null unique,
    -- The public key, the properties of the device, and its signature counter.
    credential    text not null,
    name          text not null,
    created_at    text not null,
    last_used_at  text
) strict;

create index omni_passkeys_of_user on omni_passkeys (user_id, id);

-- A row is the phone number of a user for SMS codes. It is a second factor once its first code was confirmed.
create table omni_sms_code_phones (
    user_id      blob primary key not null references omni_users on delete cascade,
    number       text not null,
    confirmed_at text,
    created_at   text not null,
    -- The code that was sent, if any: the key of its hash, sealed; the hash; the number of wrong guesses; its expiry.
    code_key     text,
    code_hash    blob,
    code_tries   integer not null default 0,
    code_until   text
) strict;

-- A row is the number of messages sent to a user or a phone number since a time.
create table omni_sms_code_sends (
    key   blob primary key not null,
    since text not null,
    sent  integer not null
) strict;

create index omni_sms_code_sends_since on omni_sms_code_sends (since);
