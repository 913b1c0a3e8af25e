-- Who is told when an alert of alerts.lua begins to fire, and when it has resolved. Edit, save: it
-- holds from then on. A receiver that is taken out loses what waits for it; one that does not
-- answer gets everything later. README.md, "Send it somewhere", has the details.
--
-- A matcher is a label and a text: "x" equal, "!x" not equal, "~x.*" a regular expression for all
-- of the value, "!~x.*" its opposite. Labels are alertname, severity, server, metric, profile and
-- those of the rule.

return {
    -- Where people reach this daemon, for links in messages; without: where it listens.
    -- external_url = "https://moondial.example.com",

    receivers = {
        -- A line of JSON for each alert that begins or ends, below the state folder (--state DIR)
        -- or a folder of `write_paths` in config.lua. Without a state folder: nothing.
        { kind = "file", path = "alerts.jsonl" },

        -- Prometheus' Alertmanager, which then groups, silences and routes as it is told to.
        -- { kind = "alertmanager", url = "http://127.0.0.1:9093", resend_s = 60 },
        -- { kind = "alertmanager", name = "pair",
        --     urls = { "http://am-1:9093", "http://am-2:9093" } },

        -- Anything that takes Alertmanager's webhook: one message for alerts that belong together.
        -- A secret need not stand here: declare on_call_token in config.lua, set it in the
        -- environment (MOONDIAL_ON_CALL_TOKEN), and write require("moondial").config.on_call_token.
        -- { kind = "webhook", name = "on-call", url = "https://hooks.example.com/moondial",
        --     headers = { Authorization = "Bearer ..." },
        --     matchers = { severity = "critical" }, group_by = { "alertname", "profile" },
        --     group_wait_s = 30, group_interval_s = 300, repeat_interval_min = 240,
        --     send_resolved = true },

        -- { kind = "stdout" },
    },

    -- While an alert like `source` fires, alerts like `target` with the same `equal` labels are
    -- not sent.
    inhibition = {
        -- { source = { severity = "critical" }, target = { severity = "warning" },
        --     equal = { "server", "metric" } },
        -- { source = { alertname = "feed_silent" }, target = { alertname = "!feed_silent" },
        --     equal = { "server" } },
    },

    -- Every week at these times nothing that matches is sent. By the wall clock of the time zone;
    -- `to` at or before `from` is on the next day.
    maintenance = {
        -- { name = "backup", days = { "sat", "sun" }, from = "22:00", to = "06:00",
        --     timezone = "Europe/Berlin", matchers = { profile = "database" } },
    },
}
