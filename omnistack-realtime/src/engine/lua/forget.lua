-- Ends a history: the next message begins another epoch, so that each subscriber is told that it may have missed some.
--
-- KEYS: position, history
redis.call('UNLINK', KEYS[1], KEYS[2])
