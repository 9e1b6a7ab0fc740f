create table rooms (
    id           blob primary key,
    tenant_id    blob not null,
    name         text not null,
    kind         text not null,
    seats        integer not null,
    hourly_price integer not null,
    floor_plan   blob,
    created_at   text not null,
    updated_at   text not null,
    deleted_at   text,
    -- Bookings refer to a room of their own tenant.
    unique (tenant_id, id)
) strict;

-- A deleted room's name is free again.
create unique index rooms_tenant_id_name_key on rooms (tenant_id, name) where deleted_at is null;
create index rooms_by_creation on rooms (tenant_id, created_at, id);
create index rooms_by_name on rooms (tenant_id, name, id);
create index rooms_by_kind on rooms (tenant_id, kind, id);
create index rooms_by_seats on rooms (tenant_id, seats, id);
create index rooms_deleted on rooms (tenant_id, created_at, id) where deleted_at is not null;

create table bookings (
    id         blob primary key,
    tenant_id  blob not null,
    room_id    blob not null,
    user_id    blob not null,
    starts_at  text not null,
    ends_at    text not null,
    price      integer not null,
    note       text,
    created_at text not null,
    updated_at text not null,
    deleted_at text,
    constraint bookings_ends_at_check check (ends_at > starts_at),
    foreign key (tenant_id, room_id) references rooms (tenant_id, id)
) strict;

create index bookings_by_creation on bookings (tenant_id, created_at, id);
create index bookings_by_start on bookings (tenant_id, starts_at, id);
create index bookings_by_room on bookings (tenant_id, room_id, starts_at);
create index bookings_by_user on bookings (tenant_id, user_id, id);
create index bookings_by_end on bookings (ends_at);
create index bookings_deleted on bookings (tenant_id, created_at, id) where deleted_at is not null;
