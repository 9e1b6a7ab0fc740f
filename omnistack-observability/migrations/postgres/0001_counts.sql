-- A row is a number of the app, counted once a minute: the value of a gauge with these labels.
create table omni_counts (
    metric     text not null,
    -- The values of the labels, as a JSON array.
    labels     text not null,
    value      double precision not null,
    counted_at timestamptz not null,
    primary key (metric, labels)
);

-- A row is the number of a day in UTC, such as the users who were created on it.
create table omni_daily_counts (
    name  text not null,
    day   text not null,
    count bigint not null,
    primary key (name, day)
);
