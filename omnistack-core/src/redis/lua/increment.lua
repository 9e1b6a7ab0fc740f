-- KEYS: key; ARGV: by, ttl
local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
-- Beyond 2^53 a number is not exact in Lua; the text in Redis is.
return redis.call('GET', KEYS[1])
