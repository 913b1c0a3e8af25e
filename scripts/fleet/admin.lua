-- Looking at models and changing them while the daemon runs.

local md = require "moondial"
local features = require "features"
local forecast = require "forecast"
local fleet = require "fleet"

local MODELS_DIR = "models"
local MODEL = "tft"

local admin = {}

local function timestamp_of(name)
    return name:match("^tft_model_(.+)$") or "unknown"
end

-- Paths as people write them, from the scripts folder: "models/tft".
local function shown(path)
    return path:gsub("/+$", ""):match("models/[^/]+$") or path
end

local function current_path()
    local model = forecast.model()
    return model and shown(model.path) or nil
end

local function describe(found, current)
    local config, null = found.config or {}, md.json.null
    return {
        path = shown(found.path), name = found.name, timestamp = timestamp_of(found.name),
        is_current = shown(found.path) == current,
        size_mb = math.floor((found.size_bytes or 0) / 10485.76 + 0.5) / 100,
        modified = found.modified_ms and md.time.iso(found.modified_ms) or nil,
        -- A model's folder does not say how long it was trained.
        training = {
            epochs = null, training_time = null,
            servers_trained = config.targets and features.known_count(config) or null,
        },
    }
end

function admin.models()
    local found, why = md.models.scan(MODELS_DIR)
    -- No folder at all: no models.
    if not found and why.code ~= "NOT_FOUND" then
        return md.fail(why)
    end
    local current, list = current_path(), {}
    for index, model in ipairs(found or {}) do
        list[index] = describe(model, current)
    end
    table.sort(list, function(a, b)
        return a.name > b.name
    end)
    return { models = md.json.array(list), count = #list, models_dir = MODELS_DIR,
        current_model = current or md.json.null }
end

function admin.model_info()
    local model = forecast.model()
    if not model then
        return { loaded = false, mode = "heuristic" }
    end
    local path = shown(model.path)
    local name = path:match("[^/]+$")
    local known, names = 0, fleet.servers():keys()
    for _, server in ipairs(names) do
        known = known + (features.is_known(model.config, server) and 1 or 0)
    end
    return {
        loaded = true, mode = "tft", model_path = path, model_name = name,
        model_timestamp = timestamp_of(name), version = model.version,
        loaded_at = md.time.iso(model.loaded_at_ms),
        config = { max_prediction_length = model.steps, max_encoder_length = model.past_max },
        servers = { total = #names, known = known },
    }
end

-- Loads a folder under models/, the configured one when none is named. The old model serves until
-- the new one is ready, and goes on serving when the new one does not load.
function admin.reload(path)
    local previous = current_path()
    local info, why = md.models.load(MODEL, path or md.config.model)
    if not info then
        return why.status or 500, { success = false, error = why.detail, detail = why.detail,
            code = why.code, current_model = previous or md.json.null }
    end
    local new = shown(info.path)
    return { success = true, message = "Model reloaded successfully",
        previous_model = previous or md.json.null, new_model = new,
        model_timestamp = timestamp_of(new:match("[^/]+$")) }
end

return admin
