-- Sends a message to the subscribers of a topic. Returns their number.
--
-- KEYS: topic
-- ARGV: message
return redis.call('PUBLISH', KEYS[1], ARGV[1])
