-- Adds to a count of one window of time, unless it would come to more than is allowed.
-- KEYS[1] the count, KEYS[2] that of the window before. ARGV[1] how many to add, or below 0 to take back, ARGV[2] for how many
-- milliseconds a count is kept, ARGV[3] the window's length, ARGV[4] what is left of it, ARGV[5] if given,
-- the most that it may come to, with as much of the earlier count as is left of the window.
-- Answers both counts, and 1 if it was added, else 0.
local number = tonumber(ARGV[1])
local current = tonumber(redis.call('GET', KEYS[1]) or '0')
local previous = tonumber(redis.call('GET', KEYS[2]) or '0')
if ARGV[5] then
    local weighted = math.floor(previous * tonumber(ARGV[4]) / tonumber(ARGV[3]))
    if current + weighted + number > tonumber(ARGV[5]) then
        return {current, previous, 0}
    end
end
current = redis.call('INCRBY', KEYS[1], number)
if current == number then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {current, previous, 1}
