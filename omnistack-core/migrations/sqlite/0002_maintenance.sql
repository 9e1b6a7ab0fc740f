-- A row says that the app is under maintenance. There is one row, or none.
create table omni_maintenance (
    id integer primary key check (id = 1),
    started_at text not null,
    -- When operators expect it to end. It ends when the row is deleted.
    expected_end text not null,
    -- What callers are told.
    message text not null
) strict;
