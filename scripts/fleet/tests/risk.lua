-- What a server's values are worth in risk points, on cases that can be added up by hand.

local md = require "moondial"
local test = require "moondial.test"
local columns = require "columns"
local profiles = require "profiles"
local risk = require "risk"

-- The points that one metric's present value adds, before they are weighed.
local function now(profile, metric, value)
    return risk.score(profile, { [metric] = value }, {}) / 0.7
end

return {
    test.case { "a calm server scores nothing", fast = true, run = function(t)
        t.equal(risk.score("generic", { cpu_used_pct = 79.9, mem_used_pct = 84.9 }, {}), 0)
        t.equal(risk.score("generic", {}, {}), 0)
    end },

    test.case { "a busy one: 0.7 (40 + 30 + 15 + 20 + 10) + 0.3 (25 + 20 + 15)", fast = true,
        run = function(t)
            t.near(risk.score("web_api",
                { cpu_used_pct = 96, mem_used_pct = 96, cpu_iowait_pct = 12, swap_used_pct = 30,
                    load_average = 9 },
                { cpu_used_pct = 97, mem_used_pct = 97, cpu_iowait_pct = 22 }), 98.5, 1e-9)
        end },

    test.case { "databases may fill their memory", fast = true, run = function(t)
        t.near(now("generic", "mem_used_pct", 94), 15, 1e-9)
        t.near(now("database", "mem_used_pct", 94), 0, 1e-9)
        t.near(now("database", "mem_used_pct", 95), 15, 1e-9)
        t.near(now("database", "mem_used_pct", 98), 30, 1e-9)
        t.near(now("database", "mem_used_pct", 99), 50, 1e-9)
        -- What the override does not name stays: the prediction, and the other metrics.
        t.near(risk.score("database", { cpu_used_pct = 95 }, { mem_used_pct = 98 }), 37, 1e-9)
    end },

    test.case { "each step of the tables adds its points", fast = true, run = function(t)
        local function soon(profile, metric, value)
            return risk.score(profile, {}, { [metric] = value }) / 0.3
        end
        local cases = {
            { now, "cpu_used_pct", { 98, 60 }, { 97.99, 40 }, { 95, 40 }, { 90, 25 }, { 80, 15 } },
            { now, "mem_used_pct", { 98, 50 }, { 95, 30 }, { 90, 15 }, { 85, 10 } },
            { now, "cpu_iowait_pct", { 30, 40 }, { 20, 25 }, { 10, 15 } },
            { now, "swap_used_pct", { 50, 30 }, { 25, 20 }, { 10, 10 } },
            { now, "load_average", { 12, 20 }, { 8, 10 } },
            { soon, "cpu_used_pct", { 98, 40 }, { 95, 25 }, { 90, 15 }, { 89, 0 } },
            { soon, "mem_used_pct", { 98, 30 }, { 95, 20 }, { 94, 0 } },
            { soon, "cpu_iowait_pct", { 30, 25 }, { 20, 15 }, { 19, 0 } },
            { soon, "swap_used_pct", { 99, 0 } },
            { now, "disk_usage_pct", { 100, 0 } },
        }
        for _, case in ipairs(cases) do
            for index = 3, #case do
                t.near(case[1]("generic", case[2], case[index][1]), case[index][2], 1e-9,
                    case[2] .. " at " .. case[index][1])
            end
        end
    end },

    test.case { "the score stops at 100", fast = true, run = function(t)
        t.equal(risk.score("generic", { cpu_used_pct = 99, mem_used_pct = 99, cpu_iowait_pct = 40,
            swap_used_pct = 60, load_average = 20 },
            { cpu_used_pct = 99, mem_used_pct = 99, cpu_iowait_pct = 40 }), 100)
    end },

    test.case { "many servers at once, each by its profile", fast = true, run = function(t)
        local scores = risk.scores({ "generic", "database", "database", "generic" },
            columns.from(4, { mem_used_pct = { 94, 94, 99 } }),
            columns.from(4, { mem_used_pct = { 98, 0, 98 } }))
        t.equal(scores:totable(), { 0.7 * 15 + 9, 0, 35 + 9, 0 })
    end },

    test.case { "what an answer says of a level, which comes before rounding", fast = true,
        run = function(t)
            local rows = risk.alerts(md.tensor.from { 69.97, 70, 0 })
            t.equal(md.json.decode(md.json.encode(rows:at(1), { decimals = 4 })), {
                level = "warning", score = 70, color = "#ff9900", emoji = "🟠",
                label = "Warning" })
            t.equal(md.json.decode(md.json.encode(rows:at(2))).level, "critical")
            t.equal(md.json.decode(md.json.encode(rows:at(3))).level, "healthy")
        end },

    test.case { "who is below the last level is in it", fast = true, run = function(t)
        local last = risk.LEVELS[#risk.LEVELS]
        local from = last.from
        last.from = 10
        local said = md.json.decode(md.json.encode(risk.alerts(md.tensor.from { 5 }):at(1))).level
        local level = risk.level(5).level
        last.from = from
        t.equal(said, "healthy")
        t.equal(level, "healthy")
    end },

    test.case { "levels begin at 20, 40 and 70", fast = true, run = function(t)
        local levels = {}
        for index, score in ipairs { 0, 19.9, 20, 40, 69.9, 70, 100 } do
            levels[index] = risk.level(score).level
        end
        t.equal(levels, { "healthy", "healthy", "watch", "warning", "warning", "critical",
            "critical" })
    end },

    test.case { "the summary counts on that scale and ranks, ties in order", fast = true,
        run = function(t)
            local summary = risk.summary({ "a", "b", "c", "d", "e", "f" },
                md.tensor.from { 10, 70, 45.26, 10, 25, 70 })
            t.equal(summary, { total_servers = 6, critical_count = 2, warning_count = 1,
                degrading_count = 1, healthy_count = 2, avg_risk_score = 38.4, max_risk_score = 70,
                top_5_risks = { "b", "f", "c", "e", "a" },
                top_10_risks = { "b", "f", "c", "e", "a", "d" },
                top_20_risks = { "b", "f", "c", "e", "a", "d" } })
            t.equal(risk.summary({}, md.tensor.zeros { 0 }).avg_risk_score, 0)
        end },

    test.case { "the twenty highest of many, whatever their order", fast = true, run = function(t)
        local names = {}
        for index = 1, 50 do
            names[index] = "s" .. index
        end
        local function top(scores)
            local list = risk.summary(names, scores).top_20_risks
            return #list .. " " .. list[1] .. " " .. list[2] .. " " .. list[20]
        end
        t.equal(top(md.tensor.range(1, 50)), "20 s50 s49 s31")
        t.equal(top(md.tensor.range(1, 50):neg()), "20 s1 s2 s20")
        t.equal(top(md.tensor.full({ 50 }, 7)), "20 s1 s2 s20")
    end },

    test.case { "names find their profile", fast = true, run = function(t)
        t.equal(profiles.of "ppdb001", "database")
        t.equal(profiles.of "PPWEB7.example.net", "web_api")
        t.equal(profiles.of "printer", "generic")
        t.equal(profiles.of("ppdb001", "ml_compute"), "ml_compute", "a record's own profile")
    end },
}
