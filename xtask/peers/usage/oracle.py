"""Adds up usage from what the app was sent, with DuckDB, by the rules of docs/src/usage.md.

The argument is a folder with `meters.json`, the meters of the app, and `requests.ndjson`, a line for each request, in
their order: its number, the tenant, the time of its receipt, and its body. Prints the sums as JSON.
"""

import json
import os
import sys

import duckdb

# A row is an event that was sent, with what becomes of it. The decimals have room for nine digits after the point.
EVENTS = """
create table events as
with requests as (
    select * from read_json('requests.ndjson', format = 'newline_delimited', columns = {
        request: 'BIGINT', tenant_id: 'VARCHAR', received_at: 'VARCHAR',
        body: 'STRUCT(environment VARCHAR, events STRUCT(id VARCHAR, meter VARCHAR, quantity VARCHAR, "at" VARCHAR,
            category VARCHAR, "user" VARCHAR, source VARCHAR)[])'
    })
),
sent as (
    select request, tenant_id, cast(received_at as timestamp) as received_at, body.environment as environment,
        unnest(body.events) as event, unnest(range(len(body.events))) as item
    from requests
),
parsed as (
    select request, item, tenant_id, coalesce(environment, 'live') as environment, received_at,
        coalesce(event.source, 'api') as source, event.id as event_id, event.meter as meter,
        cast(coalesce(event.quantity, '1') as decimal(27, 9)) as quantity, cast(event."at" as timestamp) as sent_at,
        coalesce(cast(event."at" as timestamp), received_at) as used_at, event.category as category,
        event."user" as user_id
    from sent
),
measured as (
    select parsed.*, aggregation, lifetime, reported_by_tenants,
        quantity * cast(pow(10, decimals) as decimal(10, 0)) as amount,
        cast(date_trunc('month', used_at) as timestamp) as used_in,
        cast(date_trunc('month', received_at) as timestamp) as billed_in,
        concat(meter, '/', quantity, '/', sent_at, '/', user_id, '/', category) as content
    from parsed left join read_json('meters.json') as meters using (meter)
),
checked as (
    select *, try_cast(amount as bigint) as units,
        used_at > received_at + interval '5 minutes' or used_at < received_at - interval '35 days'
        -- Not known of an event without a meter, which is not checked further.
        or coalesce(
            not reported_by_tenants or amount < 0
            or amount <> try_cast(amount as bigint) or abs(amount) > 1000000000000000
            or (aggregation = 'unique_users' and user_id is null)
            or (aggregation = 'unique_categories' and category is null),
            false
        ) as is_rejected
    from measured
),
-- Of the events with the same key, the first that is not rejected counts.
numbered as (
    select *, row_number() over same_key as turn, first_value(content) over same_key as first_content
    from checked
    window same_key as (
        partition by tenant_id, environment, source, event_id, is_rejected order by request, item
    )
)
select *, case
    when is_rejected then 'rejected'
    when turn > 1 then case when content = first_content then 'duplicate' else 'conflict' end
    when aggregation is null then 'unmatched'
    when not lifetime and used_in + interval '1 month' + interval '1 hour' <= received_at then 'late'
    else 'accepted'
end as status
from numbered
"""

STATUSES = "select status, count(*) as events from events group by all"

# Late events count in the minute, the hour and the day of their use, and not in its billing period.
WINDOWS = """
select tenant_id, environment, meter, grain,
    coalesce(date_trunc(part, used_at), timestamp '1970-01-01 00:00:00') as start,
    sum(units) as sum, count(*) as events, max(units) as max, last(units order by used_at, event_id) as last,
    count(distinct case aggregation when 'unique_users' then user_id when 'unique_categories' then category end)
        as uniques
from events, (values ('minute', 'minute'), ('hour', 'hour'), ('day', 'day'), ('period', 'month'), ('total', null))
    as grains (grain, part)
where status in ('accepted', 'late') and (grain <> 'period' or status = 'accepted') and (grain <> 'total' or lifetime)
group by all
"""

LATE = """
select tenant_id, environment, meter, billed_in, used_in, sum(units) as sum, count(*) as events
from events where status = 'late' group by all
"""

DIMENSIONS = """
select tenant_id, environment, meter, grain, cast(date_trunc(grain, used_at) as timestamp) as start,
    coalesce(category, '') as category, coalesce(user_id, '00000000-0000-0000-0000-000000000000') as user_id,
    sum(units) as sum, count(*) as events, max(units) as max
from events, (values ('day'), ('month')) as grains (grain)
where status in ('accepted', 'late') group by all
"""

os.chdir(sys.argv[1])
usage = duckdb.connect()
usage.execute(EVENTS)


def rows(sql):
    result = usage.execute(sql)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row)) for row in result.fetchall()]


sums = {"statuses": rows(STATUSES), "windows": rows(WINDOWS), "late": rows(LATE), "dimensions": rows(DIMENSIONS)}
print(json.dumps(sums, default=lambda time: f"{time.isoformat()}Z"))
