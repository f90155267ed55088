-- Calls a stale value fresh for a while, so that only the caller loads it anew.
-- KEYS[1] the key. ARGV[1] the token of the value that the caller has seen, ARGV[2] a new token,
-- ARGV[3] where `fresh until` begins, ARGV[4] its new bytes. Answers 1 if it did, else 0.
if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then
    return 0
end
redis.call('SETRANGE', KEYS[1], 0, ARGV[2])
redis.call('SETRANGE', KEYS[1], ARGV[3], ARGV[4])
return 1
