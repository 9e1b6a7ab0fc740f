-- Reads the clients that are present.
--
-- KEYS: those of presence.lua
-- ARGV: time, largest number of clients
-- Returns each client, followed by its user.
local now = current_time(ARGV[1])
expire(1, now)
local found = {}
local alive = string.format('(%.0f', now)
for _, client in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[2], '+inf', alive, 'LIMIT', 0, ARGV[2])) do
    local value = redis.call('HGET', KEYS[1], client)
    if value then
        found[#found + 1] = client
        found[#found + 1] = string.sub(value, 2)
    end
end
return found
