-- A row is a notification of a user.
create table omni_notifications (
    id blob primary key not null,
    user_id blob not null,
    -- The tenant that it is about; null if the user sees it in all tenants.
    tenant_id blob,
    kind text not null,
    title text not null,
    body text,
    -- A path of the app or a URL.
    link text,
    -- A JSON object.
    data text not null,
    -- The idempotency key.
    key text,
    created_at text not null,
    read_at text,
    mailed_at text,
    -- The time from which the digest may contain it; null if the digest won't contain it, or contains it.
    digest_at text,
    -- The job whose digest contains it.
    digest_id blob
) strict;
-- Ids are ordered by time, so these indexes list the newest notifications first.
create index omni_notifications_user_id_idx on omni_notifications (user_id, id);
create index omni_notifications_unread_idx on omni_notifications (user_id, id) where read_at is null;
create unique index omni_notifications_user_id_key_key on omni_notifications (user_id, key) where key is not null;
create index omni_notifications_tenant_id_idx on omni_notifications (tenant_id, id) where tenant_id is not null;
create index omni_notifications_created_at_idx on omni_notifications (created_at);
create index omni_notifications_digest_idx on omni_notifications (user_id, digest_at) where digest_at is not null;

-- A row is the preferences of a user who has set them. They belong to no tenant.
create table omni_notification_preferences (
    user_id blob primary key not null,
    -- Whether the user gets digests.
    digest integer not null,
    -- A JSON object of the kinds and their preferences.
    kinds text not null,
    updated_at text not null
) strict;
