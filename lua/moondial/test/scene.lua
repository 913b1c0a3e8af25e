-- What a case's `run` gets: assertions, and, unless the case is fast, a service of its own whose
-- clock it moves. A failed assertion raises; moondial.test catches it and shows both sides.

local native = require "moondial.native_test"
local active = require "moondial.test.active"
local compare = require "moondial.test.compare"
local feed = require "moondial.test.feed"
local md = require "moondial"

local scene = {}

-- file and line of whoever called the function that asks.
function scene.caller(level)
    local _, text = pcall(error, "", level + 2)
    local file, line = tostring(text):match "^(.-):(%d+): $"
    return file, tonumber(line)
end

local function fail(level, what, expected, actual)
    local file, line = scene.caller(level + 1)
    error({ is_failure = true, file = file, line = line, text = what, expected = expected,
        actual = actual }, 0)
end

local function titled(what, path)
    if what and path ~= "" then
        return what .. " differs at " .. path
    end
    return what or path ~= "" and "differs at " .. path or ""
end

-- ---- assertions ----------------------------------------------------------------------------

local function equal(actual, expected, what)
    local found = compare.difference(actual, expected)
    if found then
        fail(2, titled(what, found.path), compare.show(found.expected), compare.show(found.actual))
    end
end

local function near(actual, expected, within, what)
    local close = type(actual) == "number" and math.abs(actual - expected) <= within
    if not close then
        fail(2, what or "", ("%s within %s"):format(compare.show(expected), compare.show(within)),
            compare.show(actual))
    end
end

local function ok(value, what)
    if not value then
        fail(2, what or "", "neither nil nor false", compare.show(value))
    end
end

-- ---- the service ---------------------------------------------------------------------------

-- An object whose methods are called with a dot, as t.equal is.
local function with_service(t, case)
    local world = feed.begin(case)

    -- Lets time pass: records of `values` are sent, steps close, ticks and timers run.
    function t.advance_min(minutes)
        if type(minutes) ~= "number" or minutes <= 0 then
            error("advance_min takes a positive number of minutes", 2)
        end
        world:advance(minutes)
        t.minute = world.minute
    end

    -- Sends records now. A record without a time gets the present one.
    function t.feed(records)
        return world:send(records)
    end

    -- The body of the answer, decoded when it is JSON; the status.
    function t.get(path)
        return native.call("GET", path)
    end

    function t.post(path, body)
        return native.call("POST", path, type(body) == "table" and md.json.encode(body)
            or body or "")
    end

    -- Exactly these alerts are pending or firing now.
    function t.alerts(expected)
        local found = active.difference(md.alerts.active(), expected)
        if found then
            fail(2, found.text, found.expected, found.actual)
        end
    end

    t.minute = 0
    return t
end

local function without_service(t)
    for _, name in ipairs { "advance_min", "feed", "get", "post", "alerts" } do
        t[name] = function()
            error(("t.%s: not in a fast case, which has no service of its own"):format(name), 2)
        end
    end
    return t
end

function scene.new(case)
    local t = { equal = equal, near = near, ok = ok }
    return case.fast and without_service(t) or with_service(t, case)
end

return scene
