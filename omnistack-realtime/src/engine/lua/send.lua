-- Sends a message to all replicas.
--
-- KEYS: topic
-- ARGV: message
redis.call('PUBLISH', KEYS[1], ARGV[1])
