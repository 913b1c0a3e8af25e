-- The HTTP face of the fleet daemon. To add a route, add a row: method, pattern, options, handler.
-- A handler returns a table (sent as JSON), or a status and a table.

local md = require "moondial"
local admin = require "admin"
local asked = require "asked"
local fleet = require "fleet"
local silences = require "silences"

local VERSION = "2.4"

local function root()
    return {
        service = "TFT Inference Daemon",
        version = VERSION,
        status = "running",
        endpoints = {
            health = "GET /health", ready = "GET /ready", status = "GET /status",
            feed = "POST /feed/data", predictions = "GET /predictions/current",
            alerts = "GET /alerts/active", alert_history = "GET /alerts/history",
            alert_quality = "GET /alerts/quality", silences = "GET /silences",
            silence = "POST /silences", unsilence = "DELETE /silences/{id}",
            events = "GET /events",
            admin_models = "GET /admin/models",
            admin_reload = "POST /admin/reload-model", admin_model_info = "GET /admin/model-info",
            cache_clear = "POST /cache/clear", metrics = "GET /metrics",
            openapi = "GET /openapi.json",
        },
        features = {
            persistence = "Windows survive a restart",
            hot_reload = "Scripts and models change without a restart",
            scripting = "Thresholds, profiles and routes are Lua files",
        },
        feed_example = "examples/fleet/run",
    }
end

local function warmup_message(warmup)
    if warmup.servers == 0 then
        return "Waiting for data..."
    elseif not warmup.has_model then
        return "No model loaded - using trend forecasts"
    elseif warmup.complete then
        return "Model ready - using TFT predictions"
    end
    return ("Warming up: %d/%d servers ready"):format(warmup.ready, warmup.servers)
end

local function status()
    local warmup = fleet.warmup()
    local share = warmup.servers > 0 and warmup.ready / warmup.servers or 0
    return {
        running = true,
        tick_count = fleet.ticks(),
        window_size = fleet.servers():stats().samples,
        device = md.device(),
        warmup = {
            is_warmed_up = warmup.complete,
            progress_percent = math.floor(share * 100),
            threshold = warmup.needed,
            current_size = warmup.mean_steps,
            required_size = warmup.needed,
            message = warmup_message(warmup),
        },
    }
end

-- What became of the records: counts, and why which were rejected.
local function feed_counts(result)
    return { accepted = result.accepted, rejected = result.rejected, ignored = result.ignored,
        errors = md.json.array(result.errors) }
end

-- Not a feed at all, or no record in it was good; then the reasons come along.
local function feed_refused(why)
    local code, answer = md.fail(why)
    if why.rejected then
        for name, value in pairs(feed_counts(why)) do
            answer[name] = value
        end
    end
    return code, answer
end

local function feed(request)
    local result, why = fleet.servers():feed(request.body)
    if not result then
        return feed_refused(why)
    end
    local answer = feed_counts(result)
    if result.accepted == 0 and result.rejected == 0 then
        answer.status, answer.reason = "ignored", "empty batch"
        return answer
    end
    local warmup = fleet.warmup()
    answer.status = "accepted"
    answer.tick = fleet.tick(result.accepted, result.rejected)
    answer.window_size = fleet.servers():stats().samples
    answer.servers_tracked = warmup.servers
    answer.servers_ready = warmup.ready
    answer.warmup_complete = warmup.complete
    return answer
end

-- Too little data is an answer of its own, not an error.
local function too_little()
    local have, need = fleet.servers():stats().samples, md.config.records_min
    if have < need then
        return { error = "insufficient_data", predictions = {},
            message = ("Need at least %d records, have %d"):format(need, have) }
    end
end

local function predictions(request)
    local little = too_little()
    if little then
        return little
    elseif asked.for_less(request.query) then
        local less, problem = fleet.answer_less(request.query)
        if not less and problem.field then
            return 400, problem
        end
        return less, problem
    end
    local answer, why = fleet.answer()
    if not answer then
        return md.fail(why)
    end
    return answer.document
end

local STATES = { firing = true, pending = true, resolved = true, all = true }

-- Those that fire, or with ?state= pending, resolved or all.
local function active_alerts(request)
    local state = request.query.state or "firing"
    if not STATES[state] then
        return 400, { detail = "state is firing, pending, resolved or all", code = "INVALID",
            field = "state" }
    end
    local alerts = fleet.alerts(state)
    return { timestamp = md.time.iso(md.now_ms()), count = #alerts,
        alerts = md.json.array(alerts) }
end

local HISTORY_MIN, HISTORY_MAX = 1440, 1000

-- What alerts have done, oldest first: ?since_min=1440&limit=1000.
local function alert_history(request)
    local since_min = tonumber(request.query.since_min or HISTORY_MIN)
    local limit = tonumber(request.query.limit or HISTORY_MAX)
    if not (since_min and since_min > 0 and since_min < 1e6) then
        return 400, { detail = "since_min must be a number of minutes", code = "INVALID",
            field = "since_min" }
    elseif not (limit and limit >= 1 and limit <= 100000 and limit % 1 == 0) then
        return 400, { detail = "limit must be a whole number up to 100000", code = "INVALID",
            field = "limit" }
    end
    local events, why = md.alerts.history { since_ms = md.now_ms() - since_min * 60000,
        limit = limit }
    if not events then
        return md.fail(why)
    end
    return { timestamp = md.time.iso(md.now_ms()), count = #events,
        events = md.json.array(events) }
end

-- How often each rule was right.
local function alert_quality()
    return { timestamp = md.time.iso(md.now_ms()), rules = md.json.array(md.alerts.quality()) }
end

-- Seconds between two looks for a closed step, and how long an event waits for the step's alerts.
local EVENT_POLL_S, EVENT_PATIENCE_S = 1, 30

-- What a dashboard wants to know of a new forecast; it fetches the rest.
local function news(answer, closed_ms)
    return { closed_at = md.time.iso(closed_ms), made_at = answer.made_at,
        servers = fleet.servers():count(), alert_count = answer.alert_count }
end

local function has_alerts(closed_ms)
    return md.alerts.evaluated_ms() >= closed_ms
        or md.now_ms() > closed_ms + (md.config.grace_s + EVENT_PATIENCE_S) * 1000
end

-- One event "forecast" now, and one whenever a step has closed and its rules were evaluated.
local function events()
    return md.stream(function(stream)
        local told_ms
        repeat
            local closed_ms = fleet.servers():closed_ms()
            local is_news = closed_ms ~= told_ms and (not told_ms or has_alerts(closed_ms))
            if is_news and not too_little() then
                local answer = fleet.answer()
                if answer then
                    stream:send { event = "forecast", data = news(answer, closed_ms) }
                    told_ms = closed_ms
                end
            end
        until not md.sleep(EVENT_POLL_S)
    end)
end

local function clear_cache()
    fleet.clear()
    return { status = "cleared" }
end

local function open(summary)
    return { key = false, summary = summary }
end

local FEED = { key = true, rate_per_min = md.config.feed_rate_per_min,
    body_bytes_max = md.config.feed_bytes_max, summary = "Records of one or more servers" }

local function read(summary)
    return { key = true, rate_per_min = md.config.read_rate_per_min, summary = summary }
end

local function operate(summary)
    return { key = true, admin = true, summary = summary }
end

return {
    md.get("/", open "What this daemon offers", root),
    md.get("/status", open "How far the histories reach", status),
    md.post("/feed/data", FEED, feed),
    md.get("/predictions/current",
        read "Forecasts, risks, alerts; less by ?servers=&metrics=&quantiles=&horizon=",
        predictions),
    md.get("/alerts/active", read "Alerts that fire: ?state=firing, pending, resolved, all",
        active_alerts),
    md.get("/alerts/history", read "What alerts have done: ?since_min=1440&limit=1000",
        alert_history),
    md.get("/alerts/quality", read "How forecast alerts turned out, by rule", alert_quality),
    md.get("/silences", read "What nobody wants to hear of now: ?state=active, expired, all",
        silences.list),
    md.post("/silences", read "Silence alerts: matchers, minutes, author, comment", silences.add),
    md.delete("/silences/{id}", read "End a silence", silences.expire),
    md.get("/events", read "An event for each new forecast (text/event-stream)", events),
    md.get("/admin/models", operate "Models that could be loaded", admin.models),
    md.get("/admin/model-info", operate "The model in use", admin.model_info),
    md.post("/admin/reload-model", operate "Load a model: ?model_path=models/NAME",
        function(request)
            return admin.reload(request.query.model_path)
        end),
    md.post("/cache/clear", operate "Build the next answer anew", clear_cache),
}
