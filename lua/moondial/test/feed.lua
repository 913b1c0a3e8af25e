-- The service of a case that has a `run`: a scratch one, whose clock stands still until the case
-- moves it. `values` are sent a step at a time, each record at the beginning of its step, as a
-- collector would.

local native = require "moondial.native_test"
local series = require "moondial.test.series"
local md = require "moondial"

local feed = {}
local World = {}
World.__index = World

local MS_PER_MIN = 60000
local NAN = 0 / 0

local function succeed(fine, why)
    if not fine then
        series.raise("%s", tostring(why.detail))
    end
end

-- The service begins: its clock shows the case's start, on_start has run.
function feed.begin(case)
    local described = #native.app().series > 0 and series.described(case.series) or nil
    local values = described and series.values(described, case.values) or {}
    local forecasts = described and case.forecasts
        and series.forecasts(described, case.forecasts)
    local world = setmetatable({ described = described, values = values, minute = 0, sent = 0,
        forecasts = forecasts,
        names = series.names(values, case.forecasts), start_ms = case.start_ms,
        grace_ms = described and described.grace_ms or 0 }, World)
    succeed(native.begin(world:now_ms(), forecasts ~= nil))
    world:send_due()
    return world
end

-- A step that closes at a minute has been worked on when it is that minute: the clock shows the
-- series' grace on top.
function World:now_ms()
    return self.start_ms + self.minute * MS_PER_MIN + self.grace_ms
end

-- Sends the records that begin by now.
function World:send_due()
    local described = self.described
    while described and self.sent * described.step_min <= self.minute do
        self.sent = self.sent + 1
        local records = {}
        for _, name in ipairs(self.names) do
            records[#records + 1] = self:record(name, self.sent)
        end
        if #records > 0 then
            self:send(records)
        end
    end
end

-- What a server sends in a step; nil when it is silent.
function World:record(name, step)
    local server, record = self.values[name], nil
    for column, list in pairs(server and server.values or {}) do
        local value = list[step]
        if value and value ~= "stale" then
            record = record or {}
            record[column] = value
        end
    end
    if record then
        record[self.described.key] = name
        record[self.described.time] = md.time.iso(self.start_ms
            + (step - 1) * self.described.step_ms)
        for label, value in pairs(server.labels) do
            record[label] = value
        end
    end
    return record
end

-- Into the series, past any route.
function World:send(records)
    for _, record in ipairs(records) do
        local time = self.described.time
        record[time] = record[time] or md.time.iso(md.now_ms())
    end
    local taken, why = md.series(self.described.name):feed(md.json.encode { records = records })
    if not taken then
        series.raise("records were refused: %s", tostring(why.detail))
    elseif taken.rejected > 0 then
        series.raise("a record was refused: %s: %s", tostring(taken.errors[1].field),
            tostring(taken.errors[1].reason))
    end
    return taken
end

-- As the app's `forecasts` would give it.
local function entry_of(channel, names, step_s)
    local rows = {}
    for index, name in ipairs(names) do
        local list, row = channel.of[name] or {}, {}
        for step = 1, channel.steps do
            row[step] = list[step] or NAN
        end
        rows[index] = row
    end
    return { column = channel.column, quantile = channel.quantile, step_s = step_s, keys = names,
        values = md.tensor.from(rows) }
end

-- What is forecast when the step that ends at this minute closes.
function World:inject(minute)
    local list = {}
    for index, channel in ipairs(self.forecasts(minute)) do
        list[index] = entry_of(channel, self.names, self.described.step_ms / 1000)
    end
    md.dict("moondial.test"):set("forecasts", list)
end

-- Step by step, so that records are sent before their step closes.
function World:advance(minutes)
    local target = self.minute + minutes
    local step_min = self.described and self.described.step_min or minutes
    while self.minute < target do
        local next_min = (math.floor(self.minute / step_min + 1e-9) + 1) * step_min
        self.minute = math.min(target, next_min)
        if self.forecasts then
            self:inject(self.minute)
        end
        succeed(native.advance(self:now_ms()))
        self:send_due()
    end
end

return feed
