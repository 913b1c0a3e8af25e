-- `local md = require "moondial"`: everything a script can use, in one read-only table.
--
-- What C provides is in moondial.native; the files beside this one add what reads better in Lua.

local native = require "moondial.native"
local alerts = require "moondial.alerts"
local app = require "moondial.app"
local names = require "moondial.names"
local routes = require "moondial.routes"
require "moondial.dict"
require "moondial.fetch"

local md = {}

-- For the library only.
local HIDDEN = { freeze = true, source = true, file_of = true, alert_template_mistake = true,
    alert_wants = true, alert_frame = true, alert_trouble = true, alert_tick = true,
    notify_mistake = true, gpu = true }

for name, value in pairs(native) do
    if not HIDDEN[name] then
        md[name] = type(value) == "table" and native.freeze(value) or value
    end
end

for name, value in pairs(routes) do
    md[name] = value
end

for name, word in pairs(alerts.words) do
    md[name] = word
end

md.app = app.describe

-- Turns an error into what a handler returns: `return md.fail(err)`.
function md.fail(err)
    if type(err) ~= "table" or not err.detail then
        err = { detail = tostring(err) }
    end
    return err.status or 500, { detail = err.detail, code = err.code or "INTERNAL",
        field = err.field }
end

names.note("", md)
for name, value in pairs(native) do
    if type(value) == "table" then
        names.note(name, value)
    end
end

return native.freeze(md)
