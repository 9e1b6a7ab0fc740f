-- Removes a client from the presence of a channel.
--
-- KEYS: those of presence.lua
-- ARGV: time, client, whether its leave is told
remove(1, ARGV[2], ARGV[3])
expire(1, current_time(ARGV[1]))
