-- The presence of a channel has three keys, which KEYS contains one after another, followed by the topic:
--   clients    hash from a client to '1' if joins and leaves are told, else '0', followed by the user
--   deadlines  sorted set of the clients, by milliseconds since 1970
--   users      hash from a user to the number of the user's clients

-- Returns the time that the caller gives, in tests only, or that of this server, so that replicas with different clocks
-- agree.
local function current_time(given)
    if given ~= '' then
        return tonumber(given)
    end
    local now = redis.call('TIME')
    return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- Removes a client. `tell` is whether a leave is told, or nil for what was said when the client joined.
local function remove(first, client, tell)
    local value = redis.call('HGET', KEYS[first], client)
    redis.call('ZREM', KEYS[first + 1], client)
    if not value then
        return
    end
    redis.call('HDEL', KEYS[first], client)
    local user = string.sub(value, 2)
    if redis.call('HINCRBY', KEYS[first + 2], user, -1) <= 0 then
        redis.call('HDEL', KEYS[first + 2], user)
        if (tell or string.sub(value, 1, 1)) == '1' then
            redis.call('PUBLISH', KEYS[first + 3], 'l' .. client .. ' ' .. user)
        end
    end
end

-- Number of clients that this call may still remove. Nothing else runs in Redis meanwhile, and the clients of a crashed
-- replica go all at once.
local removable = 1000

-- Removes clients whose time is over, as far as this call may.
local function expire(first, now)
    local gone = redis.call('ZRANGEBYSCORE', KEYS[first + 1], '-inf', now, 'LIMIT', 0, removable)
    for _, client in ipairs(gone) do
        remove(first, client)
    end
    removable = removable - #gone
end

