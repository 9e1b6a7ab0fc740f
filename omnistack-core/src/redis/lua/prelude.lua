-- A stored value begins with a byte: 0 and then the value, or 1, the length of the stamps, the stamps, the value. Stamps are
-- tags with the version they had. A number that is counted is kept plain, as Redis wants it.

-- Whether every tag still has its version.
local function current(stamps)
    for i = 1, #stamps, 2 do
        if redis.call('GET', stamps[i]) ~= stamps[i + 1] then
            return false
        end
    end
    return true
end

-- What the key holds, unless a tag of it was invalidated.
local function read(key)
    local value = redis.call('GET', key)
    if not value or string.byte(value) ~= 1 then
        return value
    end
    local size = struct.unpack('>I4', string.sub(value, 2, 5))
    return current(cmsgpack.unpack(string.sub(value, 6, 5 + size))) and value
end

local function write(key, stamps, value, ttl)
    if #stamps == 0 then
        redis.call('SET', key, '\0' .. value, 'PX', ttl)
    else
        local packed = cmsgpack.pack(stamps)
        redis.call('SET', key, '\1' .. struct.pack('>I4', #packed) .. packed .. value, 'PX', ttl)
    end
end

-- Keeps a tag for as long as something stored under it.
local function keep(tag, ttl)
    if redis.call('PTTL', tag) < tonumber(ttl) then
        redis.call('PEXPIRE', tag, ttl)
    end
end

-- The versions of the tags from KEYS[first] on. A tag nothing is stored under gets a version it never had before.
local function stamp(first, counter, ttl)
    local stamps = {}
    for i = first, #KEYS do
        local version = redis.call('GET', KEYS[i])
        if not version then
            local time = redis.call('TIME')
            version = time[1] .. '.' .. time[2] .. '.' .. redis.call('INCR', counter)
            redis.call('SET', KEYS[i], version, 'PX', ttl)
        else
            keep(KEYS[i], ttl)
        end
        stamps[#stamps + 1] = KEYS[i]
        stamps[#stamps + 1] = version
    end
    return stamps
end

-- A lock's or a lease's value begins with its owner.
local function owned(claim, owner)
    local value = redis.call('GET', claim)
    return value and string.sub(value, 1, #owner) == owner and value
end
