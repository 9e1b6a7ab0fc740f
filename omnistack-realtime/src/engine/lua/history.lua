-- Reads a history.
--
-- KEYS: position, history
-- ARGV: epoch of a new history, time to live of the position in milliseconds, command that reads (XRANGE, or XREVRANGE
--   in reverse), its first and its last id, largest number of messages or -1 for all, time to live of the position of
--   a channel without messages
-- Returns the position as in publish.lua, followed by the offset and the content of each message.
local epoch = current_epoch(ARGV[1])
local offset = redis.call('HGET', KEYS[1], 'offset')
redis.call('PEXPIRE', KEYS[1], offset and ARGV[2] or ARGV[7])
local found = {epoch .. ' ' .. (offset or '0')}
if ARGV[6] == '0' then
    return found
end

local entries
if ARGV[6] == '-1' then
    entries = redis.call(ARGV[3], KEYS[2], ARGV[4], ARGV[5])
else
    entries = redis.call(ARGV[3], KEYS[2], ARGV[4], ARGV[5], 'COUNT', ARGV[6])
end
for _, entry in ipairs(entries) do
    found[#found + 1] = string.match(entry[1], '%d+')
    found[#found + 1] = entry[2][2]
end
return found
