-- A small random number generator: two multiplicative generators combined (P. L'Ecuyer, 1988).
--
-- The simulator does not use math.random: a fleet must be the same on every machine and in every
-- Lua state for one seed, and each server needs a stream of its own, so that adding a server to a
-- fleet leaves the others as they were. All products stay below 2^53, so doubles hold them exactly.

local FIRST = { modulus = 2147483563, factor = 40014 }
local SECOND = { modulus = 2147483399, factor = 40692 }
local WARM_UP_DRAWS = 8

local rng = {}

-- One stream: the same (seed, stream) pair always gives the same numbers.
function rng.new(seed, stream)
    local mixed = (seed % 1048576) * 2097143 + (stream % 1048576) * 130363 + 1
    local source = {
        first = mixed % (FIRST.modulus - 1) + 1,
        second = (mixed % 1000003 * 1999 + stream + 7) % (SECOND.modulus - 1) + 1,
        spare = nil,
    }
    for _ = 1, WARM_UP_DRAWS do
        rng.uniform(source)
    end
    return source
end

-- Uniform in (0, 1), never an end point, so that its logarithm is finite.
function rng.uniform(source)
    source.first = source.first * FIRST.factor % FIRST.modulus
    source.second = source.second * SECOND.factor % SECOND.modulus
    local difference = (source.first - source.second) % (FIRST.modulus - 1)
    return (difference + 0.5) / FIRST.modulus
end

function rng.between(source, range)
    return range[1] + (range[2] - range[1]) * rng.uniform(source)
end

-- Standard normal by the Box-Muller transform; the second of each pair waits in `spare`.
function rng.normal(source)
    local spare = source.spare
    if spare then
        source.spare = nil
        return spare
    end
    local radius = math.sqrt(-2 * math.log(rng.uniform(source)))
    local angle = 2 * math.pi * rng.uniform(source)
    source.spare = radius * math.sin(angle)
    return radius * math.cos(angle)
end

-- Waiting time of a Poisson process, in the unit of `mean`.
function rng.exponential(source, mean)
    return -mean * math.log(rng.uniform(source))
end

-- One name of `choices` = { { name, weight }, ... }, a list so that its order is fixed.
function rng.choose(source, choices)
    local total = 0
    for _, choice in ipairs(choices) do
        total = total + choice[2]
    end
    local left = total * rng.uniform(source)
    for _, choice in ipairs(choices) do
        left = left - choice[2]
        if left <= 0 then
            return choice[1]
        end
    end
    return choices[#choices][1]
end

return rng
