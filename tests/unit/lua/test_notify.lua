-- Receivers, inhibition and maintenance as people write them: what becomes of them, and what is
-- said of mistakes.

package.path = "tests/lib/?.lua;lua/?.lua;" .. package.path

local check = require "check"
local notify = require "moondial.notify"

local function describe(given)
    local lines = {}
    local described = notify.describe(given, lines)
    return described, table.concat(lines, "\n")
end

check.test("nothing is nobody", function()
    local described, mistakes = describe(nil)
    check.equal(mistakes, "")
    check.equal(#described.receivers, 0)
    check.equal(#described.maintenance, 0)
end)

check.test("defaults are Alertmanager's", function()
    local described, mistakes = describe { receivers = {
        { kind = "webhook", url = "http://127.0.0.1:5000/hook" },
        { kind = "alertmanager", url = "http://127.0.0.1:9093/" },
        { kind = "stdout" },
    } }
    check.equal(mistakes, "")
    local hook, manager, out = described.receivers[1], described.receivers[2],
        described.receivers[3]
    check.equal(hook.name, "webhook")
    check.equal(hook.group_by[1], "alertname")
    check.equal(hook.group_wait_ms, 30000)
    check.equal(hook.group_interval_ms, 300000)
    check.equal(hook.repeat_ms, 14400000)
    check.equal(hook.send_resolved, true)
    check.equal(manager.resend_ms, 60000)
    check.equal(out.url, "")
end)

check.test("every URL of a receiver is a target of its own", function()
    local described, mistakes = describe { receivers = {
        { kind = "alertmanager", name = "pair", urls = { "http://a:9093", "http://b:9093" } } } }
    check.equal(mistakes, "")
    check.equal(described.receivers[1].target, "pair")
    check.equal(described.receivers[2].target, "pair#2")
    check.equal(described.receivers[2].url, "http://b:9093")
    check.equal(described.receivers[2].name, "pair")
end)

check.test("matchers and headers come in the order of their names", function()
    local described, mistakes = describe { receivers = { { kind = "webhook", url = "https://h/x",
        matchers = { server = "~pp.*", severity = "critical" },
        headers = { ["X-B"] = "2", ["X-A"] = "1" } } } }
    check.equal(mistakes, "")
    local hook = described.receivers[1]
    check.equal(hook.matchers[1].name .. hook.matchers[1].value, "server~pp.*")
    check.equal(hook.matchers[2].name, "severity")
    check.equal(table.concat(hook.headers, "|"), "X-A: 1|X-B: 2")
end)

check.test("days are bits, times are minutes", function()
    local described, mistakes = describe { maintenance = {
        { name = "w", days = { "sat", "sun", "sat" }, from = "22:00", to = "06:30",
            timezone = "Europe/Berlin" },
        { name = "all", from = "00:00", to = "24:00" } } }
    check.equal(mistakes, "")
    check.equal(described.maintenance[1].days, 96)
    check.equal(described.maintenance[1].from_min, 1320)
    check.equal(described.maintenance[1].to_min, 390)
    check.equal(described.maintenance[1].timezone, "Europe/Berlin")
    check.equal(described.maintenance[2].days, 127)
    check.equal(described.maintenance[2].to_min, 1440)
    check.equal(described.maintenance[2].timezone, "UTC")
end)

local function hook(fields)
    local receiver = { kind = "webhook", url = "http://h/" }
    for name, value in pairs(fields) do
        receiver[name] = value
    end
    return { receivers = { receiver } }
end

local BAD = {
    { { recievers = {} }, "unknown key 'recievers' (did you mean 'receivers'?)" },
    { { receivers = { { kind = "webhok", url = "http://h/" } } }, "(did you mean 'webhook'?)" },
    { { receivers = { { url = "http://h/" } } }, "receivers[1]: 'kind' is missing" },
    { { receivers = { "http://h/" } }, "receivers[1] must be a table, not a string" },
    { { receivers = { { kind = 7 } } }, "'kind' must be a string, not a number" },
    { hook { group_weight_s = 3 }, "did you mean 'group_wait_s'?" },
    { hook { resend_s = 3 }, "unknown key 'resend_s'" },
    { hook { url = "ftp://h/" }, "'url' must begin with http://" },
    { hook { url = "http://h/ x" }, "'url' must begin with http://" },
    { hook { group_interval_s = 0 }, "'group_interval_s' must be between 1 and 86400" },
    { hook { group_wait_s = "soon" }, "'group_wait_s' must be a number, not a string" },
    { hook { repeat_interval_min = 0 / 0 }, "'repeat_interval_min' must be between" },
    { hook { headers = { ["X-A"] = "1\r\nX-B: 2" } }, "header 'X-A'" },
    { hook { headers = { ["X A"] = "1" } }, "header 'X A'" },
    { hook { matchers = { severity = 3 } }, "'severity' must be a string, not a number" },
    { hook { group_by = { 3 } }, "group_by[1] must be a string" },
    { hook { name = "a#2" }, "'name' must be a text without #" },
    { { receivers = { { kind = "stdout" }, { kind = "stdout" } } },
        "receivers[2]: another receiver has the name 'stdout'" },
    { { receivers = { { kind = "alertmanager" } } }, "it needs either 'url' or 'urls'" },
    { { receivers = { { kind = "alertmanager", urls = {} } } }, "'urls' is empty" },
    { { receivers = { { kind = "file" } } }, "'path' is missing" },
    { { inhibition = { { source = {} } } }, "inhibition[1]: 'target' is missing" },
    { { maintenance = { { name = "w", from = "22", to = "06:00" } } },
        "maintenance[1]: 'from' must be a time of day" },
    { { maintenance = { { name = "w", from = "24:00", to = "06:00" } } }, "'from' must be" },
    { { maintenance = { { name = "w", from = "20:60", to = "06:00" } } }, "'from' must be" },
    { { maintenance = { { name = "w", from = "20:00", to = "24:01" } } }, "'to' must be" },
    { { maintenance = { { name = "w", days = { "sta" }, from = "20:00", to = "22:00" } } },
        "'sta' is no day" },
    { { maintenance = { { name = "w", days = {}, from = "20:00", to = "22:00" } } },
        "'days' is empty" },
    { { external_url = "here" }, "external_url: 'url' must begin" },
    { { receivers = 3 }, "'receivers' must be a list, not a number" },
}

check.test("mistakes are named", function()
    for _, case in ipairs(BAD) do
        local _, mistakes = describe(case[1])
        check.equal(mistakes:find(case[2], 1, true) ~= nil, true, case[2] .. " in: " .. mistakes)
    end
end)

check.finish()
