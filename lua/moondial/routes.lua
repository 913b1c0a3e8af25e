-- Routes: md.get("/risk/{server}", { rate_per_min = 60 }, function(request) ... end)

local check = require "moondial.check"

local OPTIONS = {
    key = { "boolean" },
    admin = { "boolean" },
    rate_per_min = { "number" },
    body_bytes_max = { "number" },
    summary = { "string" },
}

local function check_pattern(pattern, mistakes)
    if type(pattern) ~= "string" or pattern:sub(1, 1) ~= "/" then
        mistakes[#mistakes + 1] = ("a route's pattern must be a string beginning with '/', not %s")
            :format(tostring(pattern))
        return
    end
    for segment in pattern:gmatch("[^/]+") do
        local plain = not segment:find("[{}]")
        if not plain and not segment:find("^{[%w_]+}$") then
            mistakes[#mistakes + 1] = ("route %s: '%s' is neither a name nor a {parameter}")
                :format(pattern, segment)
        end
    end
end

local function check_counts(what, options, mistakes)
    for _, name in ipairs { "rate_per_min", "body_bytes_max" } do
        local count = options[name]
        if type(count) == "number" and not (count >= 0 and count % 1 == 0) then
            mistakes[#mistakes + 1] = ("%s: %s must be a whole number from 0 on, not %g")
                :format(what, name, count)
        end
    end
end

local function route(method)
    return function(pattern, options, handler)
        if handler == nil then
            options, handler = {}, options
        end
        local what = ("route %s %s"):format(method, tostring(pattern))
        local mistakes = {}
        check_pattern(pattern, mistakes)
        local checked = check.fields(what, options, OPTIONS, mistakes)
        check_counts(what, checked, mistakes)
        if type(handler) ~= "function" then
            mistakes[#mistakes + 1] = what .. ": the handler must be a function, not a "
                .. type(handler)
        end
        check.done(mistakes)
        checked.method = method
        checked.pattern = pattern
        checked.run = handler
        return checked
    end
end

return {
    get = route "GET",
    post = route "POST",
    put = route "PUT",
    delete = route "DELETE",
}
