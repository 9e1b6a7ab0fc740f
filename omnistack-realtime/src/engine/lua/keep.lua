-- Adds clients to the presence of their channels, or extends their time.
--
-- KEYS: those of presence.lua, for each channel
-- ARGV: time, time to live in milliseconds; then for each channel the number of clients, whether joins and leaves are
--   told, and each client with its user
-- Returns 1 if there may be more clients whose time is over, else 0.
local now, ttl = current_time(ARGV[1]), tonumber(ARGV[2])
local at = 3
for first = 1, #KEYS, 4 do
    local count, tell = tonumber(ARGV[at]), ARGV[at + 1]
    at = at + 2
    -- If a full Redis has evicted one of the keys, the others would be wrong for ever.
    if redis.call('EXISTS', KEYS[first], KEYS[first + 1], KEYS[first + 2]) % 3 ~= 0 then
        redis.call('UNLINK', KEYS[first], KEYS[first + 1], KEYS[first + 2])
    end
    for _ = 1, count do
        local client, user = ARGV[at], ARGV[at + 1]
        at = at + 2
        if redis.call('HSETNX', KEYS[first], client, tell .. user) == 1
            and redis.call('HINCRBY', KEYS[first + 2], user, 1) == 1 and tell == '1' then
            redis.call('PUBLISH', KEYS[first + 3], 'j' .. client .. ' ' .. user)
        end
        redis.call('ZADD', KEYS[first + 1], now + ttl, client)
    end
    -- After the clients are extended, so that a client that is late does not go and come.
    expire(first, now)
    for key = first, first + 2 do
        redis.call('PEXPIRE', KEYS[key], 2 * ttl)
    end
end
return removable == 0 and 1 or 0
