-- Reads the clients that are present.
--
-- KEYS: those of presence.lua
-- ARGV: time, largest number of clients
-- Returns each client, followed by its user.
expire(1, current_time(ARGV[1]))
local found = {}
for _, client in ipairs(redis.call('ZREVRANGE', KEYS[2], 0, ARGV[2] - 1)) do
    local value = redis.call('HGET', KEYS[1], client)
    if value then
        found[#found + 1] = client
        found[#found + 1] = string.sub(value, 2)
    end
end
return found
