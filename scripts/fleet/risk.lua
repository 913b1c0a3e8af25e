-- How much trouble a server is in: 0 (none) to 100.
--
-- Each metric adds the points of the highest step it has reached. `current` looks at the value now,
-- `predicted` at the pessimistic forecast (90 % quantile) averaged over the next half hour. The
-- score is 70 % current and 30 % predicted points. Disk, network and connections add nothing here;
-- disk has alerts of its own (alerts.lua).
--
-- cpu_used_pct is 100 - cpu_idle_pct, or cpu_user_pct where idle is not reported.

local md = require "moondial"
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

-- Which of the servers have a profile, as ones and zeros; nil when none has.
local function those_with(profile, profiles)
    local marks, any = {}, false
    for index, name in ipairs(profiles) do
        marks[index] = name == profile and 1 or 0
        any = any or name == profile
    end
    return any and md.tensor.from(marks) or nil
end

-- Points that one metric's values add; `when` is "current" or "predicted".
local function points_of(metric, when, values, profiles)
    local points = values:grade(POINTS[metric][when] or {})
    for profile, special in pairs(PROFILE_POINTS) do
        local steps = special[metric] and special[metric][when]
        local servers = steps and those_with(profile, profiles)
        points = servers and servers:where(values:grade(steps), points) or points
    end
    return points
end

local function points_in(columns, when, profiles)
    local sum = md.tensor.zeros { #profiles }
    for metric in pairs(POINTS) do
        if columns[metric] then
            sum = sum:add(points_of(metric, when, columns[metric], profiles))
        end
    end
    return sum
end

-- The scores of many servers at once, [servers]: `profiles` names each one's, `current` and
-- `predicted` hold a column [servers] for each metric of POINTS that there is, NaN for a server
-- that has no value.
function risk.scores(profiles, current, predicted)
    local now = points_in(current, "current", profiles)
    local soon = points_in(predicted, "predicted", profiles)
    -- To thousandths, so that 0.7 x 20 + 0.3 x 20 is 20 and not a little less.
    return now:mul(WEIGHTS.current):add(soon:mul(WEIGHTS.predicted)):clip(0, 100):round(3)
end

-- The score of one server: `current` and `predicted` hold numbers.
function risk.score(profile, current, predicted)
    local function columns(values)
        local list = {}
        for metric, value in pairs(values) do
            list[metric] = md.tensor.from { value }
        end
        return list
    end
    return risk.scores({ profile }, columns(current), columns(predicted)):get(1)
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

-- One field of LEVELS for each score.
local function of_level(places, field)
    local texts = {}
    for index, level in ipairs(LEVELS) do
        texts[index] = level[field]
    end
    return md.json.choice(places, texts)
end

-- What the servers' answers say about their levels. Those come from the scores before rounding.
function risk.alerts(scores)
    local from = {}
    for index, level in ipairs(LEVELS) do
        from[index] = { index < #LEVELS and level.from or -math.huge, index }
    end
    local places = scores:grade(from)
    return md.json.rows {
        level = of_level(places, "level"), color = of_level(places, "color"),
        emoji = of_level(places, "emoji"), label = of_level(places, "label"),
        score = scores:round(1),
    }
end

-- Indices of the `count` highest numbers of a list, highest first, equal ones in order.
local function highest(numbers, count)
    local indices, kept = {}, 0
    for index, number in ipairs(numbers) do
        if kept < count or numbers[indices[kept]] < number then
            kept = math.min(kept + 1, count) -- one more, or the last goes
            local place = kept
            while place > 1 and numbers[indices[place - 1]] < number do
                indices[place] = indices[place - 1]
                place = place - 1
            end
            indices[place] = index
        end
    end
    return indices
end

local function at(names, indices, count)
    local picked = {}
    for place = 1, math.min(count, #indices) do
        picked[place] = names[indices[place]]
    end
    return picked
end

-- Counts and rankings over the servers' names and scores, two lists; ties keep their order.
function risk.summary(names, scores)
    local counts, total, most = {}, 0, 0
    for _, score in ipairs(scores) do
        local level = risk.level(score).level
        counts[level] = (counts[level] or 0) + 1
        total, most = total + score, math.max(most, score)
    end
    local ranked = highest(scores, 20)
    return {
        total_servers = #scores,
        critical_count = counts.critical or 0,
        warning_count = counts.warning or 0,
        degrading_count = counts.watch or 0,
        healthy_count = counts.healthy or 0,
        avg_risk_score = #scores > 0 and round1(total / #scores) or 0,
        max_risk_score = round1(most),
        top_5_risks = at(names, ranked, 5),
        top_10_risks = at(names, ranked, 10),
        top_20_risks = at(names, ranked, 20),
    }
end

return risk
