-- md.dict(name):fetch(key, version, make): the value stored under an equal version, or what make()
-- returns, which is computed by one caller while the others wait for it.

local native = require "moondial.native_dict"

local function run(flight, dict, key, version, make)
    local ok, value, err = pcall(make)
    if not ok then
        flight:fail(value)
        error(value, 0)
    end
    if value == nil then
        flight:fail(err or "nothing was made")
        return nil, err
    end
    local stored, why = flight:finish(dict, key, version, value)
    if not stored then
        return nil, why
    end
    return value
end

function native.methods.fetch(dict, key, version, make)
    version = type(version) .. ":" .. tostring(version)
    while true do
        local outcome, result = native.fetch_begin(dict, key, version)
        if outcome == "value" then
            return result
        elseif outcome == "run" then
            return run(result, dict, key, version, make)
        elseif outcome == nil then
            return nil, result
        end
    end
end
