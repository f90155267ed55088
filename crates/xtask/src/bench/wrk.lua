-- What wrk asks for: each of the paths in turn, or the one of its command line if there are none.

local paths = { PATHS }

if #paths > 0 then
    local threads = 0
    local requests = {}
    local at = 0

    function setup(thread)
        thread:set("thread", threads)
        threads = threads + 1
    end

    -- Each thread has paths of its own, or two might ask for the same page at once.
    function init()
        for index = thread + 1, #paths, THREADS do
            table.insert(requests, wrk.format("GET", paths[index]))
        end
    end

    function request()
        at = at % #requests + 1
        return requests[at]
    end
end

function done(summary)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format("RESULT %d %d %d\n", summary.requests, summary.duration, failed))
end
