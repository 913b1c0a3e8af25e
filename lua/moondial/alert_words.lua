-- What alert rules are written with: md.forecast, md.current, md.absent, md.gauge. Each checks what
-- it is given at the line that calls it, and returns a table that says what a rule watches.

local check = require "moondial.check"

local words = {}

-- The texts of `given`, and its other fields, checked.
local function watch_of(kind, given, schema)
    local what = "md." .. kind
    local mistakes, named, texts = {}, {}, {}
    if type(given) ~= "table" then
        mistakes[1] = ("%s takes a table, not a %s"):format(what, type(given))
        given = {}
    end
    for key, value in pairs(given) do
        if type(key) ~= "number" then
            named[key] = value
        elseif type(value) ~= "string" or value == "" then
            mistakes[#mistakes + 1] = ("%s: entry %s must be a name, not a %s"):format(what,
                tostring(key), value == "" and "text without letters" or type(value))
        end
    end
    for index, text in ipairs(given) do
        texts[index] = text
    end
    local watch = check.fields(what, named, schema, mistakes)
    if #texts == 0 and #mistakes == 0 then
        mistakes[1] = what .. (": no name, as in %s { \"%s\" }"):format(kind,
            kind == "gauge" and "moondial_queue_depth" or "cpu_user_pct")
    end
    watch.kind = kind
    return watch, texts, mistakes
end

local function check_quantile(what, quantile, mistakes)
    if type(quantile) == "number" and not (quantile > 0 and quantile < 1) then
        mistakes[#mistakes + 1] = ("%s: quantile must lie between 0 and 1, not %g"):format(what,
            quantile)
    end
end

-- md.forecast { "cpu_user_pct", quantile = 0.5, within_min = 60 }
function words.forecast(given)
    local watch, columns, mistakes = watch_of("forecast", given, {
        quantile = { "number", default = 0.5 },
        within_min = { "number", required = true },
    })
    check_quantile("md.forecast", watch.quantile, mistakes)
    local within_min = watch.within_min
    if type(within_min) == "number" and not (within_min > 0 and within_min <= 1e6) then
        mistakes[#mistakes + 1] = "md.forecast: within_min must be above 0"
    end
    check.done(mistakes)
    watch.columns = columns
    return watch
end

-- What looks at values as they are: columns, and nothing to choose beside them.
local function plain_watch(kind)
    return function(given)
        local watch, columns, mistakes = watch_of(kind, given, {})
        check.done(mistakes)
        watch.columns = columns
        return watch
    end
end

words.current = plain_watch "current" -- md.current { "mem_used_pct" }
words.absent = plain_watch "absent" -- md.absent { "cpu_user_pct" }

-- The name of a gauge in frames: as Prometheus writes it.
local function gauge_text(name, labels, quantile)
    local pieces = {}
    for index, label in ipairs(labels) do
        pieces[index] = ("%s=%q"):format(label.name, label.value)
    end
    local text = #pieces > 0 and name .. "{" .. table.concat(pieces, ",") .. "}" or name
    return quantile and ("quantile(%g, %s)"):format(quantile, text) or text
end

-- md.gauge { "moondial_queue_depth", labels = { model = "tft" } }
function words.gauge(given)
    local watch, names, mistakes = watch_of("gauge", given, {
        labels = { "map", default = {} },
        quantile = { "number" },
    })
    check_quantile("md.gauge", watch.quantile, mistakes)
    if #names > 1 then
        mistakes[#mistakes + 1] = "md.gauge: one name; a rule for each"
    end
    for label, value in pairs(type(watch.labels) == "table" and watch.labels or {}) do
        if type(label) ~= "string" or type(value) ~= "string" then
            mistakes[#mistakes + 1] = ("md.gauge: label %s must be a text"):format(tostring(label))
        end
    end
    check.done(mistakes)
    watch.name, watch.labels = names[1], check.pairs_list(watch.labels)
    watch.gauge = gauge_text(watch.name, watch.labels, watch.quantile)
    return watch
end

return words
