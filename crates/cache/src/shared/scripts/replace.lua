-- Writes a value in place of the one that its writer has seen.
-- KEYS[1] the key. ARGV[1] how the value begins that is there now ('' for none), ARGV[2] the new
-- value ('' to delete the key), ARGV[3] its time to live in milliseconds. Answers 1 if it did, else 0.
if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then
    return 0
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
