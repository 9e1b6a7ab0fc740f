-- Stores, numbers and sends a message.
--
-- KEYS: position, history, position of the message with this idempotency key, topic
-- ARGV: message, epoch of a new history, size of the history, time to live of the history and of the position,
--   time to live of the idempotency key or 0 without a key. Times are milliseconds.
-- Returns the epoch and the offset, apart by a space. Without a history they are empty and 0.
local message, epoch, size = ARGV[1], ARGV[2], ARGV[3]
local key_ttl = ARGV[6]

if key_ttl ~= '0' then
    local before = redis.call('GET', KEYS[3])
    if before then
        return before
    end
end

local position = ' 0'
if size ~= '0' then
    epoch = current_epoch(epoch)
    local offset = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'offset', 1))
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
    redis.call('XADD', KEYS[2], 'MAXLEN', size, offset .. '-0', 'm', message)
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
    position = epoch .. ' ' .. offset
end
if key_ttl ~= '0' then
    redis.call('SET', KEYS[3], position, 'PX', key_ttl)
end
redis.call('PUBLISH', KEYS[4], 'p' .. position .. ' ' .. message)
return position
