-- A row is a number of the app, counted once a minute: the value of a gauge with these labels.
create table omni_counts (
    metric     text not null,
    -- The values of the labels, as a JSON array.
    labels     text not null,
    value      real not null,
    counted_at text not null,
    primary key (metric, labels)
) without rowid;

-- A row is the number of a day in UTC, such as the users who were created on it.
create table omni_daily_counts (
    name  text not null,
    day   text not null,
    count integer not null,
    primary key (name, day)
) without rowid;
