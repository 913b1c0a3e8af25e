-- The smallest Moondial service. Start it with
--
--     build/release/moondial serve examples/hello
--
-- and ask it something:
--
--     curl http://127.0.0.1:8000/hello/world

-- Everything the runtime offers to scripts comes from this one module.
local md = require "moondial"

-- A handler gets the request and returns its answer: a table is sent as JSON. What stands in braces
-- in the pattern arrives in request.path.
local function hello(request)
    return { message = "hello, " .. request.path.name, now = md.time.iso(md.now_ms()) }
end

-- A handler may return a status before the answer.
local function teapot()
    return 418, { detail = "short and stout" }
end

-- An event stream: `curl -N http://127.0.0.1:8000/clock`. md.sleep fails, and so ends the loop,
-- when the client has gone or the service ends.
local function clock()
    return md.stream(function(stream)
        repeat
            stream:send { event = "tick", data = { now = md.time.iso(md.now_ms()) } }
        until not md.sleep(1)
    end)
end

-- app.lua returns the service: its name and its routes. Loading it has no effects. Settings, such
-- as the port, would stand in config.lua beside it.
return md.app {
    name = "hello",
    version = "0.1.0",
    routes = {
        md.get("/hello/{name}", { key = false, summary = "A greeting" }, hello),
        md.get("/teapot", { key = false }, teapot),
        md.get("/clock", { key = false, summary = "The time, every second" }, clock),
    },
}
