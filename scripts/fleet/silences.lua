-- Silences over HTTP: who does not want to hear of which alerts, until when. They are kept by the
-- daemon (md.alerts.silence), survive its restarts, and end by themselves.

local md = require "moondial"

local MINUTES_MAX = 525600 -- a year
local TEXT_BYTES_MAX = 999

local STATES = { active = true, pending = true, expired = true }

-- One that is not known may be a `starts_at` misspelt, and what it was to say is lost.
local FIELDS = { matchers = true, minutes = true, starts_at = true, ends_at = true, author = true,
    comment = true }

local silences = {}

local function refuse(field, detail)
    return 422, { detail = detail, code = "UNPROCESSABLE", field = field }
end

local function shown(silence)
    return { id = silence.id, state = silence.state, matchers = silence.matchers,
        starts_at = md.time.iso(silence.starts_ms), ends_at = md.time.iso(silence.ends_ms),
        updated_at = md.time.iso(silence.updated_ms), author = silence.author,
        comment = silence.comment }
end

-- Those that hold or will hold, or with ?state= active, pending, expired or all; newest first.
function silences.list(request)
    local state = request.query.state
    if state and state ~= "all" and not STATES[state] then
        return 400, { detail = "state is active, pending, expired or all", code = "INVALID",
            field = "state" }
    end
    local list = {}
    for _, silence in ipairs(md.alerts.silences()) do
        local wanted = state == "all" or state == silence.state
            or not state and silence.state ~= "expired"
        if wanted then
            list[#list + 1] = shown(silence)
        end
    end
    return { timestamp = md.time.iso(md.now_ms()), count = #list, silences = md.json.array(list) }
end

-- What is wrong with a body: the field and why.
local function mistake_of(body)
    if type(body) ~= "table" then
        return nil, "the body must be an object"
    elseif type(body.matchers) ~= "table" or next(body.matchers) == nil then
        return "matchers", 'matchers must name labels: { "server": "~ppdb.*" }'
    end
    for name in pairs(body) do
        if not FIELDS[name] then
            return tostring(name), ("a silence has no field '%s'"):format(tostring(name))
        end
    end
    for label, text in pairs(body.matchers) do
        if type(label) ~= "string" or type(text) ~= "string" then
            return "matchers", "matchers must be an object of texts"
        end
    end
    for _, name in ipairs { "author", "comment" } do
        local text = body[name]
        if text ~= nil and (type(text) ~= "string" or #text > TEXT_BYTES_MAX) then
            return name, name .. " must be a text of at most 999 bytes"
        end
    end
    local minutes = body.minutes
    if minutes ~= nil and not (type(minutes) == "number" and minutes > 0
            and minutes <= MINUTES_MAX) then
        return "minutes", "minutes must be a number above 0, at most a year"
    elseif (minutes == nil) == (body.ends_at == nil) then
        return "minutes", "say either minutes or ends_at"
    end
end

-- A time of the body, or nil; the second result: it is none.
local function time_of(body, name)
    if body[name] == nil then
        return nil
    end
    local ms = type(body[name]) == "string" and md.time.parse(body[name])
    return ms, not ms
end

-- { matchers =, minutes = or ends_at =, starts_at =, author =, comment = }: 201 and its id.
function silences.add(request)
    local body, why = request:json()
    if body == nil then
        return md.fail(why)
    end
    local field, wrong = mistake_of(body)
    if wrong then
        return refuse(field, wrong)
    end
    local author = body.author or request.key_name
    if not author or author == "" then
        return refuse("author", "author must say who silences")
    end
    local starts_ms, no_start = time_of(body, "starts_at")
    local ends_ms, no_end = time_of(body, "ends_at")
    if no_start or no_end then
        return refuse(no_start and "starts_at" or "ends_at", "not a time like 2026-01-31T07:05:00Z")
    end
    local id
    id, why = md.alerts.silence { matchers = body.matchers, minutes = body.minutes,
        starts_ms = starts_ms, ends_ms = ends_ms, author = author, comment = body.comment }
    if not id then
        return md.fail(why)
    end
    return 201, { id = id, status = "silenced" }
end

-- Ends it now.
function silences.expire(request)
    local done, why = md.alerts.expire(request.path.id)
    if not done then
        return md.fail(why)
    end
    return { id = request.path.id, status = "expired" }
end

return silences
