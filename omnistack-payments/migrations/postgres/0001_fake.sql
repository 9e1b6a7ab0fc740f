-- A row is an object of the built-in fake provider, such as a payment. It stands for data of another company, so it
-- belongs to no tenant of the app.
create table omni_fake_objects (
    -- Such as `payment`.
    kind text not null,
    id text not null,
    -- The name of the service: an app can have several fakes.
    service text not null,
    -- `live` or `test`.
    environment text not null,
    -- The app's reference.
    reference text,
    -- The object that it belongs to, such as the payment of a refund.
    parent text,
    -- When the object changes by itself, such as at the end of a period. Null if it does not.
    due_at timestamptz,
    -- JSON.
    body text not null,
    primary key (kind, id)
);
create index omni_fake_objects_reference_idx on omni_fake_objects (service, environment, kind, reference)
    where reference is not null;
create index omni_fake_objects_parent_idx on omni_fake_objects (parent, kind, id) where parent is not null;
create index omni_fake_objects_due_at_idx on omni_fake_objects (due_at, id) where due_at is not null;
