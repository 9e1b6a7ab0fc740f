-- Returns the numbers of clients and of users that are present.
--
-- KEYS: those of presence.lua
-- ARGV: time
expire(1, current_time(ARGV[1]))
return {redis.call('HLEN', KEYS[1]), redis.call('HLEN', KEYS[3])}
