-- Returns the numbers of clients and of users that are present. The users of a crashed replica are counted until their
-- clients are removed.
--
-- KEYS: those of presence.lua
-- ARGV: time
local now = current_time(ARGV[1])
expire(1, now)
return {redis.call('ZCOUNT', KEYS[2], string.format('(%.0f', now), '+inf'), redis.call('HLEN', KEYS[3])}
