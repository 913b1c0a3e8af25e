-- What clients are answered, on a service with a few servers: values are sent step by step, every
-- five minutes; t.advance_min lets time pass.

local test = require "moondial.test"

-- Two servers for an hour and a half: over a hundred records, which is what the first answer takes.
local CALM = { cpu_user_pct = "30x99", cpu_idle_pct = "65x99", mem_used_pct = "50x99",
    load_average = "2x99" }
local FULL = { cpu_user_pct = "30x99", cpu_idle_pct = "65x99", mem_used_pct = "99x99",
    load_average = "2x99" }

return {
    test.case { "too few records are an answer of its own", values = { web1 = CALM },
        run = function(t)
            t.advance_min(10)
            local body, status = t.get "/predictions/current"
            t.equal(status, 200)
            t.equal(body.error, "insufficient_data")
            t.equal(t.get("/alerts/active").count, 0)
            t.equal(t.get("/status").warmup.is_warmed_up, false)
        end },

    test.case { "current predictions", values = { web1 = CALM, ppdb001 = FULL },
        run = function(t)
            t.advance_min(300)
            local body = t.get "/predictions/current"
            t.equal(body.summary.total_servers, 2)
            t.equal(body.summary.top_5_risks, { "ppdb001", "web1" })
            t.equal(body.predictions.ppdb001.profile, "Database")
            t.equal(#body.predictions.web1.mem_used_pct.p50, 96, "eight hours in steps of five min")
            t.near(body.predictions.web1.mem_used_pct.current, 50, 1e-4)
            t.equal(body.predictions.web1.risk_score, 0)
            t.ok(body.predictions.ppdb001.risk_score >= 0.7 * 50, "its memory is as good as full")
        end },

    test.case { "a full memory is an alert", values = { web1 = CALM, ppdb001 = FULL },
        run = function(t)
            t.advance_min(300)
            t.alerts { { "memory_exhaustion", server = "ppdb001" },
                { "memory_high", server = "ppdb001" } }
            local body = t.get "/alerts/active"
            t.equal(body.count, 1, "one a server and metric: the most severe")
            t.equal({ body.alerts[1].rule, body.alerts[1].state }, { "memory_exhaustion",
                "firing" })
        end },

    test.case { "an alert of a forecast, as dashboards read it", values = { ppdb001 = CALM },
        forecasts = { ppdb001 = { swap_used_pct = { p50 = "11+6x11" } } },
        run = function(t)
            t.advance_min(5)
            local body = t.get "/alerts/active"
            t.equal(body.count, 1)
            local alert = body.alerts[1]
            t.equal({ alert.server, alert.metric, alert.severity, alert.threshold },
                { "ppdb001", "swap_used_pct", "critical", 40 })
            t.equal({ alert.minutes_ahead, alert.steps_ahead }, { 30, 6 })
            t.equal(alert.message, "ppdb001: swap_used_pct predicted to reach 41.0")
        end },

    test.case { "a silent server leaves the forecast", values = {
            web1 = { cpu_user_pct = "30x40" }, web2 = { cpu_user_pct = "30x99" } },
        run = function(t)
            t.advance_min(300)
            local body = t.get "/predictions/current"
            t.equal(body.summary.total_servers, 1)
            t.equal(body.metadata.silent_servers, { "web1" })
        end },

    test.case { "a feed says what it took", run = function(t)
        local good = { server_name = "web1", timestamp = "2024-01-01T00:00:00Z", cpu_user_pct = 5 }
        local bad = { server_name = "web1", timestamp = "yesterday", cpu_user_pct = 5 }
        local body, status = t.post("/feed/data", { records = { good, bad } })
        t.equal(status, 200)
        t.equal({ body.accepted, body.rejected, body.servers_tracked }, { 1, 1, 1 })
        t.equal(body.errors[1].field, "timestamp")
        t.equal(select(2, t.post("/feed/data", "no JSON")), 400)
    end },

    test.case { "a silence says what it means", run = function(t)
        local silence = { matchers = { server = "web1" }, minutes = 5, author = "ann" }
        t.equal(select(2, t.post("/silences", silence)), 201)
        silence.start_at = "2024-01-01T05:00:00Z"
        local body, status = t.post("/silences", silence)
        t.equal({ status, body.field }, { 422, "start_at" }, "it would begin at once")
        t.equal(t.get("/silences").count, 1)
    end },
}
