-- md.http.get(url [, options]) and md.http.post(url, body [, options]); options: headers,
-- timeout_ms. They give { status, body }, or nil and an error.

local native = require "moondial.native"

local function with(options, method, url, body)
    options = options or {}
    return native.http.request { method = method, url = url, body = body,
        headers = options.headers, timeout_ms = options.timeout_ms }
end

function native.http.get(url, options)
    return with(options, "GET", url)
end

function native.http.post(url, body, options)
    return with(options, "POST", url, body)
end
