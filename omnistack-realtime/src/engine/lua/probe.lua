-- Fails if Redis stores nothing, because it is full or read-only.
--
-- KEYS: any key
redis.call('SET', KEYS[1], '', 'PX', 1000)
