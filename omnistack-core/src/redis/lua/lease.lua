-- KEYS: key, its lease, counter of tags, tags; ARGV: owner, lease, ttl. Answers the value, or 1 when the lease is granted and
-- 0 when somebody has it.
local value = read(KEYS[1])
if value then
    return value
end
if redis.call('EXISTS', KEYS[2]) == 1 then
    return 0
end
-- The versions before anybody computes: a tag that is invalidated meanwhile makes the value stillborn.
redis.call('SET', KEYS[2], ARGV[1] .. cmsgpack.pack(stamp(4, KEYS[3], ARGV[3])), 'PX', ARGV[2])
return 1
