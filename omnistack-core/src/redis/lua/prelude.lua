-- A stored value begins with a byte: 0, followed by the value; or 1, followed by the length of the stamps, the
-- stamps and the value. Stamps are tags with the version they had. A counter is stored as plain text, as Redis
-- requires.

-- Returns whether all tags still have their versions.
local function current(stamps)
    for i = 1, #stamps, 2 do
        if redis.call('GET', stamps[i]) ~= stamps[i + 1] then
            return false
        end
    end
    return true
end

-- Returns what the key contains, or false if it does not exist or one of its tags was invalidated.
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

-- Keeps a tag for at least as long as a value stored with it.
local function keep(tag, ttl)
    if redis.call('PTTL', tag) < tonumber(ttl) then
        redis.call('PEXPIRE', tag, ttl)
    end
end

-- Returns the versions of the tags from KEYS[first] on. A tag without values gets a version that it never had
-- before.
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

-- Returns the value of a lock or lease, which begins with its owner, if this owner holds it.
local function owned(claim, owner)
    local value = redis.call('GET', claim)
    return value and string.sub(value, 1, #owner) == owner and value
end
