-- Settings of the fleet daemon. `moondial show-config scripts/fleet` prints each value and where it
-- came from; every key can also be given as a flag (--warmup-steps 150) or in the environment
-- (MOONDIAL_WARMUP_STEPS=150).

return {
    port = 8000,

    -- The forecasting model: a folder under models/.
    model = "models/tft",

    -- Time between two steps of the windows, which the model must have been trained on.
    step_s = 300,
    -- Steps kept per server: more than a model's history, so that late rows find their place.
    window_steps = 400,
    -- Forecast steps when there is no model to say how many (96 steps of 5 minutes are 8 hours).
    horizon_steps = 96,

    -- What is made when a step closes, before anybody asks: "answer" (the forecast, the alerts it
    -- brings and the text of /predictions/current), "forecast" (all but that text), or "nothing":
    -- whoever asks first waits for the forecast, none is stored, rules on forecasts are left out.
    forecast_ahead = "answer",

    -- Records that must have arrived before /predictions/current answers with forecasts.
    records_min = 100,
    -- Steps of history after which a server counts as ready, while no model says what it needs.
    warmup_steps = 150,

    -- A server that has sent nothing for this long is left out of the forecasts ...
    silent_after_min = 60,
    -- ... and after this long it is forgotten.
    evict_after_min = 1440,
    -- Rows may be this late, or this far ahead of our clock.
    late_max_min = 60,
    future_max_min = 5,
    -- A step closes this long after its end, to let slow senders finish.
    grace_s = 10,
    servers_max = 2000,
    -- Room for the answer that is served and the next one: about 25 KB a server each.
    dict_bytes_max = 256 * 1024 * 1024,

    -- Offset of timestamps that name none, and of the calendar that the model sees.
    timezone = "UTC",

    -- Requests per minute and client address; a loopback client is not limited.
    feed_rate_per_min = 60,
    read_rate_per_min = 30,
    feed_bytes_max = 32 * 1024 * 1024,

    -- Decimals of forecast values in answers; -1: as many as tell one float32 from the next.
    forecast_decimals = 3,
}
