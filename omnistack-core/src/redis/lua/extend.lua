-- KEYS: lock or lease; ARGV: owner, ttl
return owned(KEYS[1], ARGV[1]) and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0
