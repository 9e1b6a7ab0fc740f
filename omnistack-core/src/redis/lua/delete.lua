-- KEYS: key, its lease
redis.call('UNLINK', KEYS[2])
local kind = redis.call('TYPE', KEYS[1]).ok
local held = kind ~= 'none' and (kind ~= 'string' or read(KEYS[1]))
redis.call('UNLINK', KEYS[1])
return held and 1 or 0
