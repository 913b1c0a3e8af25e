-- How many rows of a batch a GPU begins with, by its name, for models whose declaration does not
-- say (`batch_max`), where the configuration does not either.
--
-- None of these numbers has been measured. They follow each GPU's memory and number of processors,
-- for models like the forecasting one, whose rows are small. Rows that do not fit are halved until
-- they do (moondial_device_runs_total{result="memory"} counts it); when a model has been timed, its
-- declaration says what was best.

-- The first whose name is part of the GPU's.
local TABLE = {
    { name = "B200", rows = 1024 },
    { name = "H200", rows = 1024 },
    { name = "H100", rows = 512 },
    { name = "A100", rows = 512 },
    { name = "RTX PRO 6000", rows = 512 },
    { name = "RTX 6000 Ada", rows = 256 },
    { name = "L40", rows = 256 },
    { name = "A40", rows = 256 },
    { name = "A6000", rows = 256 },
    { name = "RTX 5090", rows = 256 },
    { name = "RTX 4090", rows = 256 },
    { name = "RTX 3090", rows = 128 },
    { name = "A30", rows = 128 },
    { name = "A10", rows = 128 },
    { name = "L4", rows = 128 },
    { name = "T4", rows = 64 },
}

-- Of a GPU that is not in the table: so many rows for each of its bytes, within these bounds.
local OTHERS = { rows_per_gib = 4, least = 32, most = 256 }
local GIB = 1024 ^ 3

local gpus = {}

-- nil without a GPU.
function gpus.rows(name, memory_bytes)
    if not name then
        return nil
    end
    for _, known in ipairs(TABLE) do
        if name:find(known.name, 1, true) then
            return known.rows
        end
    end
    local rows = math.floor((memory_bytes or 0) / GIB) * OTHERS.rows_per_gib
    return math.min(math.max(rows, OTHERS.least), OTHERS.most)
end

return gpus
