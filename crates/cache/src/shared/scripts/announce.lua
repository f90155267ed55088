-- Raises the generations that a change outdates, and tells every process.
-- KEYS[1] the hash of the generations. ARGV[1] the channel, ARGV[2] the sender, ARGV[3] the products,
-- ARGV[4] '1' for a new epoch, ARGV[5] '1' if the catalogue changed, ARGV[6] the time in microseconds
-- since when listed stock has changed ('' if it has not), ARGV[7] the lineage of the server ('' to leave
-- it), ARGV[8] the epoch to end ('' for none).
-- Answers the epoch, the generations of catalogue and stock, the number of this announcement, and the
-- time in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- When its memory is full, Redis refuses what would need more, but not in a script that has written
-- something already: a change is never refused.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
    redis.call('DEL', KEYS[1])
end
redis.call('HDEL', KEYS[1], '')
local known = redis.call('HMGET', KEYS[1], 'epoch', 'lineage', 'stock_at', 'catalogue', 'stock', 'announcements')
for _, field in ipairs({1, 3, 4, 5, 6}) do
    local value = known[field]
    -- Nothing of ours: numbers of this size are exact.
    if value and not (string.match(value, '^%d+$') and tonumber(value) < 9007199254740992) then
        redis.call('DEL', KEYS[1])
        known = {false, false, false}
        break
    end
end
local other_lineage = ARGV[7] ~= '' and known[2] ~= ARGV[7]

-- No epoch: the hash is new, or was evicted. Another lineage: this server took over, or was started
-- again, and may have lost writes. The epoch to end: whoever comes back after an outage ends the one from
-- before it, unless another process has; others may hold changes that they have not announced yet.
-- The time makes an epoch unlike any before.
if not known[1] or ARGV[4] == '1' or other_lineage or known[1] == ARGV[8] then
    local epoch = math.max(now, tonumber(known[1] or '0') + 1)
    redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch))
end
if other_lineage then
    redis.call('HSET', KEYS[1], 'lineage', ARGV[7])
end
if ARGV[5] == '1' then
    redis.call('HINCRBY', KEYS[1], 'catalogue', 1)
end
-- Whoever raised it after the change of stock raised it for that change too. A time to come is another
-- server's, or from before the clock was put back.
local stock_at = tonumber(known[3] or '0')
if ARGV[6] ~= '' and (stock_at <= tonumber(ARGV[6]) or stock_at > now) then
    redis.call('HINCRBY', KEYS[1], 'stock', 1)
    redis.call('HSET', KEYS[1], 'stock_at', string.format('%.0f', now))
end

local current = redis.call('HMGET', KEYS[1], 'epoch', 'catalogue', 'stock')
local epoch, catalogue, stock = current[1], current[2] or '0', current[3] or '0'
local number = redis.call('HINCRBY', KEYS[1], 'announcements', 1)
redis.call('PUBLISH', ARGV[1], table.concat({ARGV[2], number, epoch, catalogue, stock, ARGV[3]}, ' '))
return {epoch, catalogue, stock, number, string.format('%.0f', now)}
