-- How much trouble a server is in: 0 (none) to 100.
--
-- Each metric adds the points of the highest step it has reached. `current` looks at the value now,
-- `predicted` at the pessimistic forecast (90 % quantile) averaged over the next half hour. The
-- score is 70 % current and 30 % predicted points. Disk, network and connections add nothing here;
-- disk has alerts of its own (alerts.lua).
--
-- cpu_used_pct is 100 - cpu_idle_pct, or cpu_user_pct where idle is not reported.

local md = require "moondial"
local columns = require "columns"
local policy = require "policy"

local WEIGHTS = { current = 0.7, predicted = 0.3 }

-- { at or above, points }, highest first.
local POINTS = {
    cpu_used_pct = {
        current = { { 98, 60 }, { 95, 40 }, { 90, 25 }, { 80, 15 } },
        predicted = { { 98, 40 }, { 95, 25 }, { 90, 15 } },
    },
    mem_used_pct = {
        current = { { 98, 50 }, { 95, 30 }, { 90, 15 }, { 85, 10 } },
        predicted = { { 98, 30 }, { 95, 20 } },
    },
    cpu_iowait_pct = {
        current = { { 30, 40 }, { 20, 25 }, { 10, 15 } },
        predicted = { { 30, 25 }, { 20, 15 } },
    },
    swap_used_pct = { current = { { 50, 30 }, { 25, 20 }, { 10, 10 } } },
    load_average = { current = { { 12, 20 }, { 8, 10 } } },
}

-- Where a profile differs, per metric and table; what is not named here stays as above.
local PROFILE_POINTS = {
    -- Databases fill their memory with cache on purpose.
    database = { mem_used_pct = { current = { { 99, 50 }, { 98, 30 }, { 95, 15 } } } },
}

-- The scale everything uses: the level of a server, the counts of the summary, the history.
local LEVELS = {
    { level = "critical", from = 70, color = "#ff4444", emoji = "🔴", label = "Critical" },
    { level = "warning", from = 40, color = "#ff9900", emoji = "🟠", label = "Warning" },
    { level = "watch", from = 20, color = "#ffcc00", emoji = "🟡", label = "Watch" },
    { level = "healthy", from = 0, color = "#44ff44", emoji = "🟢", label = "Healthy" },
}

policy.numbers("risk.lua", "WEIGHTS", WEIGHTS, { current = { 0, 1 }, predicted = { 0, 1 } })
policy.by_metric("risk.lua", "POINTS", POINTS, policy.points)
policy.by_profile("risk.lua", "PROFILE_POINTS", PROFILE_POINTS, policy.points, POINTS)
policy.levels("risk.lua", "LEVELS", LEVELS)

local risk = { POINTS = POINTS, PROFILE_POINTS = PROFILE_POINTS, LEVELS = LEVELS }

local function round1(value)
    return math.floor(value * 10 + 0.5) / 10
end

-- Whether any metric has steps of its own for a profile's servers.
local function differs(profile, when)
    for _, special in pairs(PROFILE_POINTS[profile]) do
        if special[when] then
            return true
        end
    end
    return false
end

-- Whether a metric adds points to anybody.
local function counts(metric, when)
    local any = POINTS[metric][when]
    for _, special in pairs(PROFILE_POINTS) do
        any = any or special[metric] and special[metric][when]
    end
    return any
end

-- The steps of some metrics, for the servers of a profile that differs or for all others.
local function steps_of(names, when, profile)
    local list = {}
    for index, metric in ipairs(names) do
        local special = profile and PROFILE_POINTS[profile][metric]
        list[index] = special and special[when] or POINTS[metric][when] or {}
    end
    return list
end

-- The metrics that add points "current" or "predicted": their columns' places, their steps, and
-- those of profiles that differ.
local function judged(when)
    local names = {}
    for metric in pairs(POINTS) do
        names[#names + 1] = counts(metric, when) and metric or nil
    end
    local special = {}
    for profile in pairs(PROFILE_POINTS) do
        special[profile] = differs(profile, when) and steps_of(names, when, profile) or nil
    end
    return { places = columns.places(names), steps = steps_of(names, when), special = special }
end

local JUDGED = { current = judged "current", predicted = judged "predicted" }

-- Points of each server, [servers].
local function points_in(all, when, profiles)
    local by = JUDGED[when]
    if #by.places == 0 then
        return md.tensor.zeros { #profiles }
    end
    local values = all:select(2, by.places)
    local points = values:grade(by.steps, 2)
    for profile, steps in pairs(by.special) do
        local servers = md.tensor.look_up(profiles, { [profile] = 1 }, 0):reshape { #profiles, 1 }
        points = servers:where(values:grade(steps, 2), points)
    end
    return points:sum(2)
end

-- The scores of many servers at once, [servers]: `profiles` names each one's, `current` and
-- `predicted` are what they have and may come to (columns.lua), NaN where there is nothing.
function risk.scores(profiles, current, predicted)
    local now = points_in(current, "current", profiles)
    local soon = points_in(predicted, "predicted", profiles)
    -- To thousandths, so that 0.7 x 20 + 0.3 x 20 is 20 and not a little less.
    return now:mul(WEIGHTS.current):add(soon:mul(WEIGHTS.predicted)):clip(0, 100):round(3)
end

-- The score of one server: `current` and `predicted` hold numbers by their names.
function risk.score(profile, current, predicted)
    local function of_one(values)
        local named = {}
        for metric, value in pairs(values) do
            named[metric] = { value }
        end
        return columns.from(1, named)
    end
    return risk.scores({ profile }, of_one(current), of_one(predicted)):get(1)
end

-- The row of LEVELS a score falls into.
function risk.level(score)
    for _, level in ipairs(LEVELS) do
        if score >= level.from then
            return level
        end
    end
    return LEVELS[#LEVELS]
end

-- One field of LEVELS for each of some `rows` of it.
local function of_level(rows, field)
    local texts = {}
    for index, level in ipairs(LEVELS) do
        texts[index] = level[field]
    end
    return md.json.choice(rows, texts)
end

-- The row of LEVELS that each score falls into.
local function levels_of(scores)
    local from = {}
    for index, level in ipairs(LEVELS) do
        from[index] = { index < #LEVELS and level.from or -math.huge, index }
    end
    return scores:grade(from)
end

-- What the servers' answers say about their levels. Those come from the scores before rounding.
function risk.alerts(scores)
    local rows = levels_of(scores)
    return md.json.rows {
        level = of_level(rows, "level"), color = of_level(rows, "color"),
        emoji = of_level(rows, "emoji"), label = of_level(rows, "label"),
        score = scores:round(1),
    }
end

-- How many servers are at each level, by its name.
local function counts_of(scores)
    local rows, list = levels_of(scores), {}
    for index, level in ipairs(LEVELS) do
        list[level.level] = rows:eq(index):sum()
    end
    return list
end

local function at(names, indices, count)
    local picked = {}
    for place = 1, math.min(count, #indices) do
        picked[place] = names[indices[place]]
    end
    return picked
end

-- Counts and rankings over the servers: a list of names and the scores [servers]; ties keep their
-- order.
function risk.summary(names, scores)
    local servers_at, ranked = counts_of(scores), scores:top(20)
    local most = #ranked > 0 and scores:get(ranked[1]) or 0
    return {
        total_servers = #names,
        critical_count = servers_at.critical or 0,
        warning_count = servers_at.warning or 0,
        degrading_count = servers_at.watch or 0,
        healthy_count = servers_at.healthy or 0,
        avg_risk_score = #names > 0 and round1(scores:sum() / #names) or 0,
        max_risk_score = round1(math.max(0, most)),
        top_5_risks = at(names, ranked, 5),
        top_10_risks = at(names, ranked, 10),
        top_20_risks = at(names, ranked, 20),
    }
end

return risk
