-- Events and their deliveries to subscribers. Times are microseconds since 1970 UTC, bound by the app.
create table events (
    -- The order, which is that of the commits: there is one writer.
    seq          integer primary key autoincrement,
    id           blob not null,
    name         text not null,
    key          text not null,
    payload      text not null,
    tenant       blob,
    trace        text,
    trace_state  text,
    published_at integer not null
) strict;
create unique index events_id on events (id);

-- One event for one subscriber.
create table event_deliveries (
    seq        integer not null,
    subscriber text not null,
    key        text not null,
    -- waiting; dead: failed permanently, holds back its key; done, skipped: finished.
    state      text not null default 'waiting',
    attempt    integer not null default 0,
    -- Counts claims. A dispatcher with an older one can't change the delivery any more.
    lease      integer not null default 0,
    error      text,
    ended_at   integer,
    primary key (seq, subscriber)
) strict;
create index event_deliveries_open on event_deliveries (subscriber, key, seq) where state in ('waiting', 'dead');
create index event_deliveries_dead on event_deliveries (seq) where state = 'dead';
-- For operators: the newest deliveries that match, and their number.
create index event_deliveries_of_subscriber on event_deliveries (subscriber, state, seq);
create index event_deliveries_of_key on event_deliveries (key, seq, subscriber);
create index event_deliveries_ended on event_deliveries (ended_at) where ended_at is not null;

-- A key of a subscriber with unfinished deliveries, and when it is due; null while a dead letter holds it back.
create table event_lanes (
    subscriber text not null,
    key        text not null,
    run_at     integer,
    primary key (subscriber, key)
) strict;
create index event_lanes_due on event_lanes (subscriber, run_at);
