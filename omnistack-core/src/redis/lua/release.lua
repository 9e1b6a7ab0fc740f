-- KEYS: lock or lease; ARGV: owner
return owned(KEYS[1], ARGV[1]) and redis.call('UNLINK', KEYS[1]) or 0
