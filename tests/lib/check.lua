-- The little that a Lua test needs when plain LuaJIT runs it: named cases, comparisons that say
-- what they saw, and an exit status. A failed comparison ends its case, not the file. Tests inside
-- a state of ours (test_lua_tensors.c) use the comparisons alone.
--
--     local check = require "check"
--     check.test("two and two", function() check.equal(2 + 2, 4) end)
--     check.finish()

local check = { passed = 0, failed = 0 }

local function show(value)
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

function check.test(name, body)
    local ok, why = xpcall(body, function(text)
        return debug.traceback(text, 2)
    end)
    if ok then
        check.passed = check.passed + 1
    else
        check.failed = check.failed + 1
        io.stderr:write("FAILED ", name, ": ", tostring(why), "\n")
    end
end

function check.equal(got, want, what)
    if got ~= want then
        error(("%s: got %s, want %s"):format(what or "value", show(got), show(want)), 2)
    end
end

function check.near(got, want, tolerance, what)
    local close = type(got) == "number" and math.abs(got - want) <= tolerance
    if not close then
        error(("%s: got %s, want %s within %g"):format(what or "value", show(got), show(want),
            tolerance), 2)
    end
end

function check.truth(value, what)
    if not value then
        error((what or "value") .. ": got " .. show(value), 2)
    end
end

-- Same keys, same values, all the way down.
function check.same(got, want, what)
    what = what or "value"
    if type(got) ~= "table" or type(want) ~= "table" then
        return check.equal(got, want, what)
    end
    for key, value in pairs(want) do
        check.same(got[key], value, what .. "." .. tostring(key))
    end
    for key in pairs(got) do
        check.truth(want[key] ~= nil, what .. " has no business with " .. tostring(key))
    end
end

-- f(...) raises an error that says something like the pattern.
function check.fails(pattern, f, ...)
    local ok, message = pcall(f, ...)
    if ok or not tostring(message):find(pattern) then
        error(("expected an error with '%s', got %s"):format(pattern, tostring(message)), 2)
    end
end

function check.finish()
    print(("%d passed, %d failed"):format(check.passed, check.failed))
    os.exit(check.failed == 0 and check.passed > 0 and 0 or 1)
end

return check
