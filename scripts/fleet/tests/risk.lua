-- What a server's values are worth in risk points, on cases that can be added up by hand.

local test = require "moondial.test"
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
        t.near(now("database", "mem_used_pct", 99), 50, 1e-9)
    end },

    test.case { "levels begin at 20, 40 and 70", fast = true, run = function(t)
        local levels = {}
        for index, score in ipairs { 0, 19.9, 20, 40, 69.9, 70, 100 } do
            levels[index] = risk.level(score).level
        end
        t.equal(levels, { "healthy", "healthy", "watch", "warning", "warning", "critical",
            "critical" })
    end },

    test.case { "names find their profile", fast = true, run = function(t)
        t.equal(profiles.of "ppdb001", "database")
        t.equal(profiles.of "PPWEB7.example.net", "web_api")
        t.equal(profiles.of "printer", "generic")
        t.equal(profiles.of("ppdb001", "ml_compute"), "ml_compute", "a record's own profile")
    end },
}
