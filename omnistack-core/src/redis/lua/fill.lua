-- KEYS: key, its lease; ARGV: owner, value, ttl
local lease = owned(KEYS[2], ARGV[1])
if not lease then
    return 0
end
local stamps = cmsgpack.unpack(string.sub(lease, #ARGV[1] + 1))
if current(stamps) then
    for i = 1, #stamps, 2 do
        keep(stamps[i], ARGV[3])
    end
    write(KEYS[1], stamps, ARGV[2], ARGV[3])
end
redis.call('UNLINK', KEYS[2])
return 1
