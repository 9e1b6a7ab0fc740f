-- A row is a notification of a user.
create table omni_notifications (
    id uuid primary key,
    user_id uuid not null,
    -- The tenant that it is about; null if the user sees it in all tenants.
    tenant_id uuid,
    kind text not null,
    title text not null,
    body text,
    -- A path of the app or a URL.
    link text,
    -- A JSON object.
    data text not null,
    -- The idempotency key.
    key text,
    created_at timestamptz not null,
    read_at timestamptz,
    mailed_at timestamptz,
    -- The time from which the digest may contain it; null if the digest won't contain it, or contains it.
    digest_at timestamptz,
    -- The job whose digest contains it.
    digest_id uuid
);
-- Ids are ordered by time, so these indexes list the newest notifications first.
create index omni_notifications_user_id_idx on omni_notifications (user_id, id);
create index omni_notifications_unread_idx on omni_notifications (user_id, id) where read_at is null;
create unique index omni_notifications_user_id_key_key on omni_notifications (user_id, key) where key is not null;
create index omni_notifications_tenant_id_idx on omni_notifications (tenant_id, id) where tenant_id is not null;
create index omni_notifications_created_at_idx on omni_notifications (created_at);
create index omni_notifications_digest_idx on omni_notifications (user_id, digest_at) where digest_at is not null;
-- A transaction of a tenant sees the notifications about that tenant and those about none, since a user sees both at
-- once. A transaction without a tenant sees the latter, but may insert notifications about any tenant.
alter table omni_notifications enable row level security;
alter table omni_notifications force row level security;
create policy tenant on omni_notifications using (omnistack_visible(tenant_id) or tenant_id is null);
create policy record on omni_notifications for insert
    with check (omnistack_may_record(coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')));

-- A row is the preferences of a user who has set them. They belong to no tenant.
create table omni_notification_preferences (
    user_id uuid primary key,
    -- Whether the user gets digests.
    digest boolean not null,
    -- A JSON object of the kinds and their preferences.
    kinds text not null,
    updated_at timestamptz not null
);
