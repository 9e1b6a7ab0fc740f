-- KEYS: key; ARGV: ttl
if redis.call('TYPE', KEYS[1]).ok == 'string' then
    local value = read(KEYS[1])
    if not value then
        return 0
    end
    if string.byte(value) == 1 then
        local size = struct.unpack('>I4', string.sub(value, 2, 5))
        local stamps = cmsgpack.unpack(string.sub(value, 6, 5 + size))
        for i = 1, #stamps, 2 do
            keep(stamps[i], ARGV[1])
        end
    end
end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
