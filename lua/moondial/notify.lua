-- Who is told of alerts, from what app.lua says under `alerts.notify`:
--
--     { receivers = { { kind = "alertmanager", url = "http://127.0.0.1:9093" } },
--       inhibition = { { source = { severity = "critical" }, target = { severity = "warning" },
--           equal = { "server" } } },
--       maintenance = { { name = "backup", days = { "sat", "sun" }, from = "22:00",
--           to = "06:00", timezone = "Europe/Berlin", matchers = { server = "~ppdb.*" } } } }
--
-- notify.describe checks all of it and completes it to the form that C reads: times in
-- milliseconds, days as a set of bits, maps as lists in order of their names, and a target for each
-- URL of a receiver.

local check = require "moondial.check"
local has_native, native = pcall(require, "moondial.native")

local MS_PER_S, MS_PER_MIN = 1000, 60000
local RECEIVERS_MAX = 64

local NOTIFY = {
    external_url = { "string" },
    degraded_after_s = { "number", default = 300 },
    receivers = { "list", default = {} },
    inhibition = { "list", default = {} },
    maintenance = { "list", default = {} },
}

-- What receivers of every kind have, and what each kind adds.
local COMMON = {
    kind = { "string", required = true },
    name = { "string" },
    matchers = { "map", default = {} },
    send_resolved = { "boolean", default = true },
}
local HTTP = {
    headers = { "map", default = {} },
    timeout_s = { "number", default = 10 },
}
local KINDS = {
    alertmanager = {
        url = { "string" },
        urls = { "list" },
        resend_s = { "number", default = 60 },
    },
    webhook = {
        url = { "string", required = true },
        group_by = { "list", default = { "alertname" } },
        group_wait_s = { "number", default = 30 },
        group_interval_s = { "number", default = 300 },
        repeat_interval_min = { "number", default = 240 },
        alerts_max = { "number", default = 0 },
    },
    file = { path = { "string", required = true } },
    stdout = {},
}
for kind, fields in pairs(KINDS) do
    local is_http = kind == "alertmanager" or kind == "webhook"
    for _, more in ipairs { COMMON, is_http and HTTP or {} } do
        for name, field in pairs(more) do
            fields[name] = field
        end
    end
end

local INHIBITION = {
    source = { "map", required = true },
    target = { "map", required = true },
    equal = { "list", default = {} },
}

local WINDOW = {
    name = { "string", required = true },
    days = { "list", default = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" } },
    from = { "string", required = true },
    to = { "string", required = true },
    timezone = { "string" },
    matchers = { "map", default = {} },
}

local DAYS = { mon = 1, tue = 2, wed = 4, thu = 8, fri = 16, sat = 32, sun = 64 }

local notify = {}

-- What only the runtime can tell of a text ("matcher", "timezone"); nil: nothing is wrong.
local function mistake_of(kind, text, label)
    return has_native and native.notify_mistake and native.notify_mistake(kind, text, label)
end

-- { severity = "critical" } as { { name =, value = } }.
local function read_matchers(what, given, mistakes)
    local list = {}
    if type(given) ~= "table" then
        return list -- told already
    end
    for _, label in ipairs(check.sorted_names(given)) do
        local text = given[label]
        if type(text) ~= "string" then
            mistakes[#mistakes + 1] = ("%s: '%s' must be a string, not a %s"):format(what, label,
                type(text))
        else
            local wrong = mistake_of("matcher", text, label)
            if wrong then
                mistakes[#mistakes + 1] = ("%s: %s"):format(what, wrong)
            end
            list[#list + 1] = { name = label, value = text }
        end
    end
    return list
end

local function read_texts(what, name, given, mistakes)
    local list = {}
    for index, text in ipairs(type(given) == "table" and given or {}) do
        if type(text) ~= "string" then
            mistakes[#mistakes + 1] = ("%s: %s[%d] must be a string, not a %s"):format(what, name,
                index, type(text))
        else
            list[#list + 1] = text
        end
    end
    return list
end

local function check_range(what, name, number, low, high, mistakes)
    if type(number) == "number" and not (number >= low and number <= high) then
        mistakes[#mistakes + 1] = ("%s: '%s' must be between %g and %g"):format(what, name, low,
            high)
        return low
    end
    return tonumber(number) or low
end

local function check_url(what, url, mistakes)
    if type(url) == "string" and not url:find("^https?://[^%s%c/][^%s%c]*$") then
        mistakes[#mistakes + 1] = ("%s: 'url' must begin with http:// or https:// and a host")
            :format(what)
    end
end

-- ---- receivers --------------------------------------------------------------------------------

local function read_headers(what, given, mistakes)
    local list = {}
    for _, name in ipairs(check.sorted_names(type(given) == "table" and given or {})) do
        local value = given[name]
        if type(value) ~= "string" or value:find "%c" or not name:find "^[%w!#$&'*+.^_`|~-]+$" then
            mistakes[#mistakes + 1] = ("%s: header '%s' is no name with a text of one line")
                :format(what, name)
        else
            list[#list + 1] = name .. ": " .. value
        end
    end
    if #list > 32 then
        mistakes[#mistakes + 1] = what .. ": more than 32 headers"
    end
    return list
end

local READ = {}

function READ.alertmanager(what, given, made, mistakes)
    made.resend_ms = check_range(what, "resend_s", given.resend_s, 1, 3600, mistakes) * MS_PER_S
    if (given.url == nil) == (given.urls == nil) then
        mistakes[#mistakes + 1] = what .. ": it needs either 'url' or 'urls'"
    end
    made.urls = given.url and { given.url } or read_texts(what, "urls", given.urls, mistakes)
    if given.urls and #made.urls == 0 then
        mistakes[#mistakes + 1] = what .. ": 'urls' is empty"
    end
end

function READ.webhook(what, given, made, mistakes)
    made.urls = { given.url }
    made.group_by = read_texts(what, "group_by", given.group_by, mistakes)
    made.group_wait_ms = check_range(what, "group_wait_s", given.group_wait_s, 0, 86400, mistakes)
        * MS_PER_S
    made.group_interval_ms = check_range(what, "group_interval_s", given.group_interval_s, 1,
        86400, mistakes) * MS_PER_S
    made.repeat_ms = check_range(what, "repeat_interval_min", given.repeat_interval_min, 1,
        43200, mistakes) * MS_PER_MIN
    made.alerts_max = math.floor(check_range(what, "alerts_max", given.alerts_max, 0, 100000,
        mistakes))
end

function READ.file(_, given, made)
    made.urls = { given.path }
end

function READ.stdout(_, _, made)
    made.urls = { "" }
end

local function suggest_kind(what, kind)
    return ("%s: 'kind' is not alertmanager, webhook, file or stdout%s"):format(what,
        check.suggestion(kind, KINDS))
end

local function read_receiver(what, given, mistakes)
    local kind = type(given) == "table" and given.kind
    if type(given) ~= "table" or type(kind) ~= "string" or not KINDS[kind] then
        local shape = type(given) == "table" and type(kind) ~= "string" and { kind = COMMON.kind }
        if type(given) ~= "table" then
            mistakes[#mistakes + 1] = ("%s must be a table, not a %s"):format(what, type(given))
        elseif shape then
            check.fields(what, { kind = kind }, shape, mistakes)
        else
            mistakes[#mistakes + 1] = suggest_kind(what, kind)
        end
        return nil
    end
    local checked = check.fields(what, given, KINDS[kind], mistakes)
    local made = { kind = kind, name = checked.name or kind, headers = {}, timeout_ms = 10000,
        send_resolved = checked.send_resolved }
    made.matchers = read_matchers(what .. ": matchers", checked.matchers, mistakes)
    if KINDS[kind].headers then
        made.headers = read_headers(what, checked.headers, mistakes)
        made.timeout_ms = check_range(what, "timeout_s", checked.timeout_s, 0.1, 300, mistakes)
            * MS_PER_S
    end
    READ[kind](what, checked, made, mistakes)
    for _, url in ipairs(KINDS[kind].headers and made.urls or {}) do
        check_url(what, url, mistakes)
    end
    return made
end

-- One entry for each URL: "am", "am#2" ...
local function add_targets(list, made)
    for index, url in ipairs(made.urls) do
        local target = { url = url, target = index == 1 and made.name
            or ("%s#%d"):format(made.name, index) }
        for name, value in pairs(made) do
            target[name] = value
        end
        target.urls = nil
        list[#list + 1] = target
    end
end

local function read_receivers(given, mistakes)
    local list, seen = {}, {}
    for index, receiver in ipairs(given) do
        local what = ("receivers[%d]"):format(index)
        local made = read_receiver(what, receiver, mistakes)
        local name = made and made.name
        if type(name) == "string" then
            if seen[name] then
                mistakes[#mistakes + 1] = ("%s: another receiver has the name '%s': give it a "
                    .. "'name' of its own"):format(what, name)
            elseif name == "" or name:find "#" then
                mistakes[#mistakes + 1] = what .. ": 'name' must be a text without #"
            else
                add_targets(list, made)
            end
            seen[name] = true
        end
    end
    if #list > RECEIVERS_MAX then
        mistakes[#mistakes + 1] = ("receivers: more than %d of them"):format(RECEIVERS_MAX)
    end
    return list
end

-- ---- inhibition and maintenance ---------------------------------------------------------------

local function read_inhibition(given, mistakes)
    local list = {}
    for index, rule in ipairs(given) do
        local what = ("inhibition[%d]"):format(index)
        local checked = check.fields(what, rule, INHIBITION, mistakes)
        list[index] = {
            source = read_matchers(what .. ": source", checked.source, mistakes),
            target = read_matchers(what .. ": target", checked.target, mistakes),
            equal = read_texts(what, "equal", checked.equal, mistakes),
        }
    end
    return list
end

-- "22:30" in minutes; 24:00 only as an end.
local function read_time(what, name, text, most, mistakes)
    local hour, minute = tostring(text):match "^(%d%d):(%d%d)$"
    local minutes = hour and hour * 60 + minute
    if type(text) == "string" and not (minutes and tonumber(minute) < 60 and minutes <= most) then
        mistakes[#mistakes + 1] = ("%s: '%s' must be a time of day like \"22:00\""):format(what,
            name)
        return 0
    end
    return minutes or 0
end

local function read_days(what, given, mistakes)
    local bits = 0
    for _, day in ipairs(read_texts(what, "days", given, mistakes)) do
        if not DAYS[day] then
            mistakes[#mistakes + 1] = ("%s: '%s' is no day (mon, tue ... sun)%s"):format(what, day,
                check.suggestion(day, DAYS))
        elseif bits % (2 * DAYS[day]) < DAYS[day] then
            bits = bits + DAYS[day]
        end
    end
    return bits
end

local function read_maintenance(given, mistakes)
    local list = {}
    for index, window in ipairs(given) do
        local what = ("maintenance[%d]"):format(index)
        local checked = check.fields(what, window, WINDOW, mistakes)
        local zone = checked.timezone or has_native and native.config.timezone or "UTC"
        local wrong = type(zone) == "string" and mistake_of("timezone", zone)
        if wrong then
            mistakes[#mistakes + 1] = ("%s: %s"):format(what, wrong)
        end
        list[index] = { name = checked.name, timezone = zone,
            days = read_days(what, checked.days, mistakes),
            from_min = read_time(what, "from", checked.from, 1439, mistakes),
            to_min = read_time(what, "to", checked.to, 1440, mistakes),
            matchers = read_matchers(what .. ": matchers", checked.matchers, mistakes) }
        if list[index].days == 0 and type(checked.days) == "table" and #checked.days == 0 then
            mistakes[#mistakes + 1] = what .. ": 'days' is empty"
        end
    end
    return list
end

-- Checks what app.lua says under alerts.notify; `lines` takes mistakes with file and line. nil:
-- nobody is told.
function notify.describe(given, lines)
    local mistakes = {}
    local file = has_native and type(given) == "table" and native.file_of
        and native.file_of(given) or nil
    local checked = check.fields(file and "notify" or "alerts.notify", given or {}, NOTIFY,
        mistakes)
    for _, name in ipairs { "receivers", "inhibition", "maintenance" } do
        if type(checked[name]) ~= "table" then
            checked[name] = {} -- told already
        end
    end
    if checked.external_url then
        check_url("external_url", checked.external_url, mistakes)
    end
    local described = {
        external_url = checked.external_url and tostring(checked.external_url):gsub("/+$", ""),
        degraded_after_ms = check_range("notify", "degraded_after_s", checked.degraded_after_s, 1,
            86400, mistakes) * MS_PER_S,
        receivers = read_receivers(checked.receivers, mistakes),
        inhibition = read_inhibition(checked.inhibition, mistakes),
        maintenance = read_maintenance(checked.maintenance, mistakes),
    }
    for _, line in ipairs(check.lines(mistakes, file or "app.lua")) do
        lines[#lines + 1] = line
    end
    return described
end

return notify
