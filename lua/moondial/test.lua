-- Policy tests: files in the folder's tests/, each returning a list of cases.
--
--     local test = require "moondial.test"
--     return {
--         test.case { "memory alerts at once", fast = true,
--             values = { web1 = { mem_used_pct = "80x2 95" } },
--             alerts = { [10] = {}, [15] = { { "memory_high", server = "web1" } } } },
--         test.case { "an answer", values = { web1 = { mem_used_pct = "80x20" } },
--             run = function(t)
--                 t.advance_min(60)
--                 t.equal(t.get("/status").servers, 1)
--             end },
--     }
--
-- A case with `alerts` is evaluated by rules.lua; one with `run` calls the function with the object
-- of scene.lua. `moondial test` runs all of them, each by itself, through cases and run_case; the
-- daemon runs those that are fast before it takes over changed files, through fast.

local library = require "moondial.native"
local native = require "moondial.native_test"
local check = require "moondial.check"
local md = require "moondial"
local rules = require "moondial.test.rules"
local scene = require "moondial.test.scene"
local tokens = require "moondial.tokens"

local CASE = {
    name = { "string", required = true },
    fast = { "boolean", default = false },
    start = { "string", default = "2024-01-01T00:00:00Z" }, -- a Monday
    series = { "string" },
    values = { "map" },
    forecasts = { "map" },
    gauges = { "map" },
    rules = { "any" },
    alerts = { "map" },
    run = { "function" },
}

local test = {}

-- ---- what files say ------------------------------------------------------------------------

local function mistakes_of(case, mistakes)
    case.start_ms = type(case.start) == "string" and md.time.parse(case.start)
    if not case.start_ms then
        mistakes[#mistakes + 1] = ("start: '%s' is no time: \"2024-01-01T00:00:00Z\""):format(
            tostring(case.start))
    end
    if (case.alerts == nil) == (case.run == nil) then
        mistakes[#mistakes + 1] = "a case has either 'alerts' or 'run'"
    end
    for _, name in ipairs { "gauges", "rules" } do
        if case[name] and not case.alerts then
            mistakes[#mistakes + 1] = ("'%s' goes with 'alerts'"):format(name)
        end
    end
    if case.fast and case.run and (case.values or case.forecasts) then
        mistakes[#mistakes + 1] = "what a fast case gives goes with 'alerts': its 'run' has no "
            .. "service"
    end
end

-- A case from the table that a file writes; its mistakes are told when it is listed.
function test.case(given)
    local file, line = scene.caller(2)
    local mistakes, fields = {}, {}
    for key, value in pairs(type(given) == "table" and given or {}) do
        fields[key == 1 and "name" or key] = value
    end
    local case = check.fields("case", fields, CASE, mistakes)
    if #mistakes == 0 then
        mistakes_of(case, mistakes)
    end
    case.is_case, case.file, case.line, case.mistakes = true, file, line, mistakes
    return case
end

local function read_file(file)
    local list = native.load(file)
    if type(list) == "table" and list.is_case then
        list = { list }
    end
    if type(list) ~= "table" then
        error(("%s: return a list of test.case { ... }"):format(file), 0)
    end
    for index, case in ipairs(list) do
        if type(case) ~= "table" or not case.is_case then
            error(("%s: entry %d is not made by test.case"):format(file, index), 0)
        elseif #case.mistakes > 0 then
            error(("%s:%s: %s"):format(file, case.line or "?", case.mistakes[1]), 0)
        end
    end
    return list
end

-- ---- running one ---------------------------------------------------------------------------

-- The line of `[60] =` in the case's table; the case's own where it is not written like that.
local function line_of_minute(file, case, minute)
    local list = tokens.of(library.source(file) or "")
    for at = 1, #list - 3 do
        local entry = list[at].text == "[" and list[at + 1].kind == "number"
            and list[at + 2].text == "]" and list[at + 3].text == "="
        if entry and list[at].line >= (case.line or 1)
            and tonumber(list[at + 1].text) == minute then
            return list[at].line
        end
    end
    return case.line
end

-- What an error says, as a failure: assertions have their place, the rest what Lua says of it.
local function failure_of(err, file, case)
    if type(err) == "table" and err.is_failure then
        err.file, err.line = err.file or file, err.line or case.line
        return err
    elseif type(err) == "table" and err.is_mistake then
        return { file = file, line = case.line, text = err.text }
    end
    local text = type(err) == "table" and tostring(err.detail or err) or tostring(err)
    local at, line, rest = text:match "^([^:%c]+%.lua):(%d+): (.*)$"
    if at == file then
        return { file = at, line = tonumber(line), text = rest }
    end
    return { file = file, line = case.line, text = text }
end

local function run(file, case)
    local body = case.alerts and function()
        return rules.run(case)
    end or function()
        case.run(scene.new(case))
    end
    local fine, result = pcall(body)
    if not fine then
        return failure_of(result, file, case)
    elseif result then
        result.file, result.line = file, line_of_minute(file, case, result.minute)
        return result
    end
    return nil
end

-- ---- for moondial test ---------------------------------------------------------------------

-- All cases of all files: { { file =, position =, name =, line =, fast = } }; raises the
-- first mistake.
function test.cases()
    local all = {}
    for _, file in ipairs(native.files()) do
        for position, case in ipairs(read_file(file)) do
            all[#all + 1] = { file = file, position = position, name = case.name,
                line = case.line or 0, fast = case.fast }
        end
    end
    return all
end

-- Runs one; its failure { file =, line =, text =, expected =, actual = }, or nothing.
function test.run_case(file, position)
    local failure = run(file, read_file(file)[position])
    if failure then
        return { file = failure.file, line = failure.line or 0, text = failure.text or "",
            expected = failure.expected or "", actual = failure.actual or "" }
    end
    return nil
end

-- ---- for a reload --------------------------------------------------------------------------

local function on_one_line(case, failure)
    local text = ("%s:%s: test \"%s\" failed"):format(failure.file, failure.line or "?", case.name)
    if failure.text and failure.text ~= "" then
        text = text .. ": " .. failure.text
    end
    if failure.expected then
        text = text .. (": expected %s, got %s"):format(failure.expected, failure.actual)
    end
    return (text:gsub("%c", " "))
end

-- Runs the fast cases for at most so many milliseconds of work: what failed as one line, or
-- nothing; what there was no time for, or nothing.
function test.fast(ms_max)
    local began_ms = native.worked_ms()
    for _, file in ipairs(native.files()) do
        for _, case in ipairs(read_file(file)) do
            if case.fast then
                if native.worked_ms() - began_ms > ms_max then
                    return nil, ("%s:%s: fast tests take more than %g ms: \"%s\" and those behind "
                        .. "it were not run"):format(file, case.line or "?", ms_max, case.name)
                end
                native.note(("%s:%s: test \"%s\""):format(file, case.line or "?", case.name))
                local failure = run(file, case)
                if failure then
                    return on_one_line(case, failure)
                end
            end
        end
    end
    return nil
end

return test
