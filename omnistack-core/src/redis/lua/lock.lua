-- KEYS: lock, fence; ARGV: owner, ttl
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
    return false
end
-- At least the microseconds since 1970, so that tokens also grow if Redis has lost its data.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local fence = string.format('%.0f', math.max(now, tonumber(redis.call('GET', KEYS[2]) or 0) + 1))
redis.call('SET', KEYS[2], fence)
return fence
