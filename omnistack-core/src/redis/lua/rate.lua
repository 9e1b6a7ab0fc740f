-- Counts a request if it is allowed, like `Terms::settle` in http/rate/rule.rs, which describes the algorithm.
-- Times are microseconds since 1970 by this server's clock, so that replicas with different clocks agree. All
-- numbers are whole and below 2^53.
--
-- KEYS: key
-- ARGV of a token bucket: 'b', charge, capacity; of a sliding window: 'w', cost, quota, unit, span; then the
-- time, in tests only.
-- Returns the time, whether the request is allowed, and the key's state: the time at which the bucket is full;
-- or the period, the number used, and the number used in the period before.
local bucket = ARGV[1] == 'b'
local cost = tonumber(ARGV[2])
local given = ARGV[bucket and 4 or 6]
local now = tonumber(given)
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end

local function keep(state, micros)
    -- A mock clock does not tell when the key is no longer needed.
    local ttl = given and 3600000 or math.ceil(micros / 1000) + 1
    redis.call('SET', KEYS[1], state, 'PX', string.format('%.0f', ttl))
end

if bucket then
    local capacity = tonumber(ARGV[3])
    local at = tonumber(redis.call('GET', KEYS[1]) or 0)
    local after = math.min(math.max(at, now), now + capacity) + cost
    if after - now > capacity then
        return {now, 0, at, 0, 0}
    end
    if cost > 0 then
        keep(string.format('%.0f', after), after - now)
    end
    return {now, 1, after, 0, 0}
end

local quota, unit, span = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local units = math.floor(now / unit)
local period = math.floor(units / span)
local offset = units - period * span
local at, used, before = 0, 0, 0
local stored = redis.call('GET', KEYS[1])
if stored then
    at, used, before = string.match(stored, '(%d+) (%d+) (%d+)')
    at, used, before = tonumber(at), tonumber(used), tonumber(before)
end
local state = {now, 0, at, used, before}
if at == period + 1 then
    period, offset = at, 0
elseif at == period - 1 then
    used, before = 0, used
elseif at ~= period then
    used, before = 0, 0
end
if used + math.ceil(before * (span - offset) / span) + cost > quota then
    return state
end
used = used + cost
if cost > 0 then
    keep(string.format('%.0f %.0f %.0f', period, used, before), (2 * span - offset) * unit)
end
return {now, 1, period, used, before}
