-- KEYS: key, its lease, counter of tags, tags; ARGV: value, ttl
-- In this order, since a full Redis lets a script go on that has written before.
write(KEYS[1], stamp(4, KEYS[3], ARGV[2]), ARGV[1], ARGV[2])
redis.call('UNLINK', KEYS[2])
