if redis.call('TYPE', KEYS[1]).ok == 'string' and not read(KEYS[1]) then
    return -2
end
return redis.call('PTTL', KEYS[1])
