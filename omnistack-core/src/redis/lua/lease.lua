-- KEYS: key, its lease, counter of tag versions, tags; ARGV: owner, lease, ttl. Returns the value, or 1 if the
-- lease is granted and 0 if it is held.
local value = read(KEYS[1])
if value then
    return value
end
if redis.call('EXISTS', KEYS[2]) == 1 then
    return 0
end
-- The tag versions before the computation: a value with a tag that is invalidated meanwhile is never valid.
redis.call('SET', KEYS[2], ARGV[1] .. cmsgpack.pack(stamp(4, KEYS[3], ARGV[3])), 'PX', ARGV[2])
return 1
