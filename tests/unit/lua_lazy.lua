-- Lazy tensors: whatever is asked of one is what the same arithmetic on tensors gives, to the bit.

local md = require "moondial"
local fails = require("check").fails
local tensor = md.tensor
local NAN = 0 / 0

-- The shortest text that reads back tells all floats apart but for NaN and infinities.
local function text(value)
    return value:isnan():where(-12345, value):clip(-1e30, 1e30)
end

local function encoded(value)
    return md.json.encode(type(value) == "userdata" and text(value) or value)
end

local function same(lazy, eager, what)
    local a, b = encoded(lazy), encoded(eager)
    if a ~= b then
        error(("%s: %s is not %s"):format(what or "", a:sub(1, 200), b:sub(1, 200)), 2)
    end
end

local function product(shape)
    local count = 1
    for _, dim in ipairs(shape) do
        count = count * dim
    end
    return count
end

-- Numbers without order, some of them missing, the same each time.
local seed = 1
local function numbers(shape)
    local list = {}
    for index = 1, product(shape) do
        seed = (seed * 16807) % 2147483647
        list[index] = seed % 11 == 0 and NAN or (seed % 20001 - 10000) / 97
    end
    return tensor.from(list):reshape(shape)
end

-- A formula of three operands with steps that are read more than once.
local function formula(a, b, c)
    local line = a:mul(b):add(c):max(-50):min(c:abs())
    local cut = c:gt(0):where(line:add(0.001):floor(), line)
    return cut:sub(b:abs():sqrt()):mul(line:isnan():neg():add(1)), cut
end

local SHAPES = { -- of the operands and the result
    { { 4 }, { 4 }, { 4 }, { 4 } },
    { { 3, 5, 1 }, { 96 }, { 3, 5, 1 }, { 3, 5, 96 } },
    { { 3, 5, 1 }, { 7 }, { 1, 5, 1 }, { 3, 5, 7 } },
    { { 40, 3, 1 }, { 6 }, { 40, 1, 6 }, { 40, 3, 6 } },
    { { 2, 1, 4, 1 }, { 1, 3, 1, 5 }, { 2, 3, 4, 5 }, { 2, 3, 4, 5 } },
    { { 2, 1 }, { 3000 }, { 1 }, { 2, 3000 } },
    { { 700, 1 }, { 5 }, { 700, 5 }, { 700, 5 } },
    { { 1, 1 }, { 1 }, { 1, 1 }, { 1, 1 } },
    { { 200, 14, 1 }, { 96 }, { 1, 14, 1 }, { 200, 14, 96 } }, -- by several threads
    { { 2, 0, 3 }, { 3 }, { 1, 1 }, { 2, 0, 3 } },
    { { 2, 3, 1 }, { 1, 0 }, { 1 }, { 2, 3, 0 } },
}
for index, shapes in ipairs(SHAPES) do
    local a, b, c = numbers(shapes[1]), numbers(shapes[2]), numbers(shapes[3])
    local eager, eager_cut = formula(a, b, c)
    local lazy, lazy_cut = formula(a:lazy(), b, c)
    local shape, what = shapes[4], "shapes " .. index
    local rank, last = #shape, shape[#shape]
    same(lazy:shape(), shape, what)
    same(lazy:tensor(), eager, what)
    same(lazy_cut:tensor(), eager_cut, what)
    same(lazy, eager, what .. ", written")
    for _, name in ipairs { "sum", "nansum", "mean", "nanmean", "std", "nanstd", "amax", "nanmax",
        "amin", "nanmin", "nanlast", "slope", "count_finite" } do
        same(lazy[name](lazy, rank), eager[name](eager, rank), what .. ", " .. name)
    end
    same(lazy:first_at_least(3, rank), eager:first_at_least(3, rank), what)
    for axis = 1, rank do
        local dim = shape[axis]
        if dim > 0 then
            local middle = math.ceil(dim / 2)
            for _, ends in ipairs { { 1, middle }, { middle, dim }, { dim, dim }, { 1, 0 } } do
                local slice = lazy:slice(axis, ends[1], ends[2])
                local expected = eager:slice(axis, ends[1], ends[2])
                same(slice:tensor(), expected, what .. ", a slice")
                same(slice:amax(rank), expected:amax(rank), what .. ", a slice's peaks")
                same(slice:slice(rank, 1, math.min(2, slice:dim(rank))):mean(rank),
                    expected:slice(rank, 1, math.min(2, expected:dim(rank))):mean(rank), what)
            end
            local picked = { dim, 1, middle, 1 }
            same(lazy:select(axis, picked):tensor(), eager:select(axis, picked), what)
            same(lazy:select(axis, {}):shape(), eager:select(axis, {}):shape(), what)
        end
    end
    if rank > 1 and shape[1] > 0 and shape[2] > 0 and last > 0 then
        local of_lazy, of_eager = md.json.rows { v = lazy }, md.json.rows { v = eager }
        for row = 1, math.min(5, shape[1]) do
            same(md.json.encode(of_lazy:at(row)), md.json.encode(of_eager:at(row)), what)
            same(md.json.encode(of_lazy:at(row, shape[2]), { decimals = 1 }),
                md.json.encode(of_eager:at(row, shape[2]), { decimals = 1 }), what)
        end
    end
end

-- every operator, in one step and behind another
local x, y = numbers { 5, 3, 1 }, numbers { 40 }
for _, name in ipairs { "add", "sub", "mul", "div", "pow", "min", "max", "ge", "gt", "le", "lt",
    "eq" } do
    same(x:lazy()[name](x:lazy(), y):tensor(), x[name](x, y), name)
    same(x[name](x, y:lazy()):tensor(), x[name](x, y), name)
    same(x[name](x:lazy():neg(), 2):tensor(), x:neg()[name](x:neg(), 2), name)
end
for _, name in ipairs { "exp", "log", "sqrt", "abs", "neg", "floor", "isnan", "round" } do
    same(x:lazy():add(y)[name](x:lazy():add(y)):tensor(), x:add(y)[name](x:add(y)), name)
end
same(x:lazy():add(y):round(2):tensor(), x:add(y):round(2))
same(x:lazy():clip(y, 3):tensor(), x:clip(y, 3))
same(x:where(y:lazy(), -1):tensor(), x:where(y, -1))
same(tensor.from({ 1, 2 }, "int64"):lazy():mul(2):tensor(), tensor.from { 2, 4 })
same(tensor.from({ 1, 2 }):lazy():add(tensor.from({ 1, 2 }, "int32")):tensor(),
    tensor.from { 2, 4 })
same(x:lazy():amax(3), x:amax(3))

-- extremes: where each stands, in rows that rise, fall, turn around, stand still or are missing,
-- and in those whose values cannot be bounded
for _, servers in ipairs { 5, 128, 150 } do
    local function of_all(low, high)
        local values = numbers { servers, 3, 1 }
        return values:mul((high - low) / 207):add((high + low) / 2)
    end
    local forth, back = tensor.range(1, 96), tensor.range(-96, -1)
    local level, drift, width = of_all(-20, 120), of_all(-1, 1), of_all(-3, 3)
    local ceiling = tensor.from({ 100, 1 / 0, -1 / 0 }):reshape { 1, 3, 1 }
    local huge = of_all(-3e38, 3e38)
    local marks = level:gt(50)
    local function lines(slope, ahead)
        local line = slope:mul(ahead):add(level):max(0):min(ceiling)
        local wide = line:add(width:mul(ahead:abs():sqrt()))
        local bend = ahead:mul(ahead):mul(0.008)
        return {
            line, wide, line:sub(wide), wide:floor(), wide:sub(line:mul(width)), wide:neg(),
            wide:gt(80), wide:ge(level), wide:lt(level), wide:le(80), wide:eq(100),
            wide:gt(80):max(wide:gt(90):mul(2)), line:mul(line:sub(50)), wide:sqrt(),
            slope:mul(ahead):mul(huge):sub(huge), slope:mul(ahead):mul(huge):mul(ceiling),
            ceiling:mul(slope:mul(ahead)), slope:mul(ahead):div(wide), line:min(wide):max(slope),
            marks:where(line, wide), ceiling:gt(0):where(line, wide), level:sub(slope:mul(0)),
            line:add(bend), line:sub(bend), line:mul(bend), line:min(bend:sub(90):neg()),
            line:max(bend:sub(90):neg()), wide:sub(bend):floor(), line:mul(line:sub(90)):neg(),
            line:sub(bend):gt(10), line:gt(bend), line:ge(bend), line:lt(bend), line:le(bend),
            bend:gt(line):add(line:gt(60)), bend:lt(line):mul(line:lt(60)),
            slope:mul(ahead:abs():sub(48)):mul(slope:mul(0):add(ahead:abs())),
            slope:mul(0):add(ahead:abs()):sub(48):mul(ceiling), -- missing in the middle
        }
    end
    for _, steps in ipairs { forth, back, forth:slice(1, 1, 40), numbers { 96 } } do
        local eager = lines(drift, steps)
        for index, lazy in ipairs(lines(drift:lazy(), steps)) do
            local what = ("%d servers, %d steps, line %d"):format(servers, steps:dim(1), index)
            for _, name in ipairs { "amax", "amin", "nanmax", "nanmin" } do
                same(lazy[name](lazy, 3), eager[index][name](eager[index], 3), what)
            end
        end
    end
end

-- the bounds of a product: its extreme may come from any two ends of its factors. These meet in the
-- first step, in the last and in those between, each in one of four ways.
local ENDS = { { -2, 1 }, { 1, 2 }, { -5, -3 } }
for case = 0, 4 * 4 * 4 * #ENDS * #ENDS - 1 do
    local left, right, rest = {}, {}, math.floor(case / 64)
    local left_ends, right_ends = ENDS[rest % #ENDS + 1], ENDS[math.floor(rest / #ENDS) + 1]
    for step = 1, 40 do
        local way = step == 1 and case or math.floor(case / (step == 40 and 4 or 16))
        left[step], right[step] = left_ends[way % 2 + 1],
            right_ends[math.floor(way / 2) % 2 + 1]
    end
    local function product_of(still)
        return still:add(tensor.from(left)):mul(tensor.from(right))
    end
    local still = tensor.zeros { 5, 1, 1 }
    local lazy, eager = product_of(still:lazy()), product_of(still)
    same(lazy:amax(3), eager:amax(3), "amax of a product")
    same(lazy:amin(3), eager:amin(3), "amin of a product")
end

-- what is different in the middle alone: larger, smaller, or missing, as an infinity of one row or
-- of the middle makes it
for _, servers in ipairs { 5, 128, 150 } do
    local ordinals, middle = tensor.range(1, servers):reshape { servers, 1, 1 }, {}
    for step = 1, 96 do
        middle[step] = step == 48 and 1 or 0
    end
    local function lines(zero, odd)
        local peak = zero:add(tensor.from(middle))
        local dip, high = peak:mul(-1):add(1), peak:mul(3e38):mul(3e38)
        local deep = peak:mul(3e38):mul(-3e38)
        return { dip:mul(odd), odd:mul(dip), peak:sub(1):mul(odd), deep:add(odd), odd:add(deep),
            odd:mul(-1):sub(deep), high:sub(odd), deep:sub(1):mul(dip), dip:mul(deep:sub(1)),
            high:add(1):mul(dip), dip:mul(high:add(1)), peak:floor(), dip:floor() }
    end
    for _, place in ipairs { 1, 2, servers } do
        local odd = ordinals:eq(place):where(1 / 0, ordinals)
        local still = ordinals:mul(0)
        local eager = lines(still, odd)
        for index, lazy in ipairs(lines(still:lazy(), odd)) do
            local what = ("line %d, infinite in row %d of %d"):format(index, place, servers)
            same(lazy:amax(3), eager[index]:amax(3), what)
            same(lazy:amin(3), eager[index]:amin(3), what)
        end
    end
end

-- conditions that stand still along some axes: only what they pick is worked out
for _, shape in ipairs { { 1, 5, 1 }, { 30, 1, 1 }, { 1, 1, 1 }, { 30, 5, 1 }, { 1, 5, 8 } } do
    for _, steps in ipairs { 8, 96 } do
        local level, ahead = numbers { 30, 5, 1 }, numbers { steps }
        local told, flags = numbers { 30, 1, steps }, numbers(shape):gt(0)
        local holes = numbers(shape)
        if steps == 8 or shape[3] == 1 then
            local function drawn(from)
                local line = from:mul(ahead):add(level)
                local cut = flags:where(line:floor(), line)
                local wide = holes:where(cut:add(ahead:abs()), cut:sub(1))
                return flags:where(told, wide:max(cut)), flags:where(holes:where(cut, 0), wide)
            end
            local lazy, other = drawn(level:lazy())
            local eager, other_eager = drawn(level)
            for _, pair in ipairs { { lazy, eager }, { other, other_eager } } do
                same(pair[1]:tensor(), pair[2])
                same(pair[1]:amax(3), pair[2]:amax(3))
                same(pair[1]:slice(2, 2, 4):nanmean(3), pair[2]:slice(2, 2, 4):nanmean(3))
                same(md.json.encode(pair[1]), md.json.encode(pair[2]))
            end
        end
    end
end

-- as a column of rows, beside tensors; what it is made of is kept
local lazy = tensor.from({ { { 1 }, { 2 } }, { { 3 }, { 4 } } }):lazy():mul(tensor.range(1, 2))
local rows = md.json.rows({ line = lazy, level = tensor.from { { 7, 8 }, { 9, 10 } } },
    { decimals = { line = 1 } })
for _ = 1, 64 do
    tensor.zeros { 1e6 } -- garbage enough to be collected
end
same(md.json.encode(rows:at(2, 1)), '{"level":9,"line":[3,6]}')
same(md.json.encode(md.json.named { { names = { "b", "a" },
    rows = md.json.rows { cpu = rows:inner(2) } } }),
    '{"a":{"cpu":{"level":10,"line":[4,8]}},"b":{"cpu":{"level":8,"line":[2,4]}}}')
same(md.json.encode(tensor.full({}, 4):lazy()), "4")
fails("do not begin with the same 2 axes", function()
    return md.json.rows({ a = lazy, b = tensor.from { { 1 }, { 2 } } }):at(1, 1)
end)
same(tostring(lazy), "lazy tensor [2, 2, 2]")
same({ lazy:rank(), lazy:dim(3) }, { 3, 2 })

-- what it is made of stays as it is
local level = tensor.from { 1, 2, 3 }
local kept = level:lazy():add(1)
fails("cannot be written", level.set, level, 1, 100)
same(kept:tensor(), tensor.from { 2, 3, 4 })

-- misuse
fails("shapes do not fit", kept.add, kept, tensor.from { 1, 2 })
fails("along its last dimension", lazy.amax, lazy, 1)
fails("along its last dimension", lazy.sum, lazy)
fails("no such dimension", lazy.amax, lazy, 4)
fails("no such dimension", lazy.slice, lazy, 0, 1, 1)
fails("outside the dimension", lazy.slice, lazy, 1, 1, 3)
fails("outside the dimension", lazy.slice, lazy, 1, NAN, 2)
fails("outside the dimension", lazy.select, lazy, 1, { 3 })
fails("outside the dimension", lazy.select, lazy, 1, { NAN })
fails("table expected", lazy.select, lazy, 1)
fails("tensor expected", kept.add, kept, "1")
fails("tensor expected", level.lazy, kept)
fails("lazy tensor expected", kept.tensor, level)

-- ... and formulas that are too long
local long = level:lazy()
fails("work out a part of it", function()
    for index = 1, 1000 do
        long = long:add(index):mul(level)
    end
end)
local wide = level:lazy()
fails("work out a part of it", function()
    for _ = 1, 1000 do
        wide = wide:add(tensor.from { 1, 2, 3 })
    end
end)
-- what is the same is there once
local again = level:lazy():exp()
for _ = 1, 150 do
    again = again:max(level:lazy():exp())
end
same(again:tensor(), level:exp())
