-- Returns the epoch of the history that KEYS[1] (position) and KEYS[2] (history) belong to. `fresh` is that of a new
-- one.
--
-- The numbers of an epoch belong to one data set of Redis. A restarted server and a promoted replica begin another data
-- set, whose data may be older than what clients have got. It would give the numbers of the lost messages to others, so
-- the epoch ends; the messages that are left keep their numbers. A server also gets another id with its first replica.
local function current_epoch(fresh)
    -- A server that keeps its id to itself counts as one data set.
    local info = redis.pcall('INFO', 'replication')
    local data_set = type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or ''
    local known = redis.call('HMGET', KEYS[1], 'epoch', 'data_set')
    if known[1] and known[2] == data_set then
        return known[1]
    end
    if not known[1] then
        -- A history without a position is left from before: its numbers belong to another epoch.
        redis.call('UNLINK', KEYS[2])
    end
    redis.call('HSET', KEYS[1], 'epoch', fresh, 'data_set', data_set)
    return fresh
end

