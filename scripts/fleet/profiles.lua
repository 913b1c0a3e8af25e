-- What kind of server a name belongs to.
--
-- A name belongs to the first profile that has a prefix of it followed by a digit, upper or lower
-- case alike: "PPDB001", "ppdb7" and "ppdb001.example.net" are databases, "ppdbx" is generic.
-- To add a profile, add a row here; its risk rules, if it needs any, go into risk.lua. The models
-- know the profiles they were trained with and take any other for unknown.

local REGISTRY = {
    { name = "ml_compute", label = "ML Compute",
        prefixes = { "ppml", "ppgpu", "cptrain", "ml-node-" } },
    { name = "database", label = "Database",
        prefixes = { "ppdb", "psdb", "oracle", "mongo", "postgres", "mysql" } },
    { name = "web_api", label = "Web API",
        prefixes = { "ppweb", "ppapi", "nginx", "tomcat", "api-server-" } },
    { name = "conductor_mgmt", label = "Conductor Mgmt",
        prefixes = { "ppcon", "conductor", "egomgmt", "maestro" } },
    { name = "data_ingest", label = "ETL/Ingest",
        prefixes = { "ppetl", "ppkafka", "stream", "spark", "flink" } },
    { name = "risk_analytics", label = "Risk Analytics",
        prefixes = { "pprisk", "varrisk", "credit", "quant" } },
    { name = "generic", label = "Generic", prefixes = {} },
}

-- Names seen so far; forgotten all at once when there are more than this.
local CACHE_NAMES_MAX = 10000

local profiles = { registry = REGISTRY }

local by_name = {}
for _, profile in ipairs(REGISTRY) do
    by_name[profile.name] = profile
end

local function look_up(server_name)
    local lowered = server_name:lower()
    for _, profile in ipairs(REGISTRY) do
        for _, prefix in ipairs(profile.prefixes) do
            if lowered:sub(1, #prefix) == prefix and lowered:find("^%d", #prefix + 1) then
                return profile.name
            end
        end
    end
    return "generic"
end

local cache, cached = {}, 0

-- The profile of a server: what its records say when that is a profile we know, else its name's.
function profiles.of(server_name, reported)
    if reported and by_name[reported] then
        return reported
    end
    local known = cache[server_name]
    if known then
        return known
    end
    if cached >= CACHE_NAMES_MAX then
        cache, cached = {}, 0
    end
    local found = look_up(server_name)
    cache[server_name], cached = found, cached + 1
    return found
end

-- The profile as people read it.
function profiles.label(profile_name)
    local profile = by_name[profile_name] or by_name.generic
    return profile.label
end

return profiles
