-- The notation of series in policy tests: what promtool's documentation gives, and mistakes.

package.path = "tests/lib/?.lua;lua/?.lua;" .. package.path

local check = require "check"
local notation = require "moondial.test.notation"

local function shown(given)
    local values, why = notation.values(given)
    if not values then
        return why
    end
    local words = {}
    for index, value in ipairs(values) do
        words[index] = value == false and "_" or tostring(value)
    end
    return table.concat(words, " ")
end

check.test("values, runs and steps expand as promtool says", function()
    check.equal(shown "-2+4x3", "-2 2 6 10")
    check.equal(shown "1-2x4", "1 -1 -3 -5 -7")
    check.equal(shown "1x4", "1 1 1 1 1")
    check.equal(shown "1 _x3 stale", "1 _ _ _ stale")
    check.equal(shown "1+2x5", "1 3 5 7 9 11")
    check.equal(shown "-2-3x4", "-2 -5 -8 -11 -14")
    check.equal(shown "  0.5   _\n1e2 ", "0.5 _ 100")
    check.equal(shown "1e2-1e1x2 .5x1", "100 90 80 0.5 0.5")
    check.equal(shown "7x0 _x0", "7")
    check.equal(shown "", "")
end)

check.test("lists and single numbers stand for themselves", function()
    check.equal(shown { 1, 2.5, "_", false, "stale", 0 / 0 }, "1 2.5 _ _ stale _")
    check.equal(shown(42), "42")
end)

check.test("mistakes name their position", function()
    local function starts(given, text)
        check.equal(shown(given):sub(1, #text), text)
    end
    starts("50x3 abc", "position 6: 'abc' is no value")
    starts("1+x5", "position 1: '1+x5' is no value")
    starts("1+2", "position 1: '1+2' is no value")
    starts("1x-2", "position 1: '1x-2' is no value")
    starts("1x2.5", "position 1: '1x2.5' is no value")
    starts("5 __", "position 3: '__' is no value")
    starts("5 Stale", "position 3: 'Stale' is no value")
    starts("0x0 1x99999999", "position 5: '1x99999999': more than 100000 values")
    starts("1x99999999999999999999", "position 1: '1x99999999999999999999': more than")
    starts({ 1, "2x3" }, "value 2: a number, \"_\" or \"stale\", not '2x3'")
    starts({ {} }, "value 1: a number, \"_\" or \"stale\", not a table")
    starts(true, "a series is a text")
end)

check.finish()
