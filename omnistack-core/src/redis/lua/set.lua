-- KEYS: key, its lease, counter of tag versions, tags; ARGV: value, ttl
-- In this order, because a full Redis allows a script to continue once it has written.
write(KEYS[1], stamp(4, KEYS[3], ARGV[2]), ARGV[1], ARGV[2])
redis.call('UNLINK', KEYS[2])
