-- What tensors do in Lua. Expected values are worked out by hand.

local md = require "moondial"
local fails = require("check").fails
local tensor = md.tensor
local NAN = 0 / 0

local function same(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then
        return a == b or (a ~= a and b ~= b)
            or type(a) == "number" and type(b) == "number" and math.abs(a - b) < 1e-5
    end
    if #a ~= #b then
        return false
    end
    for i = 1, #a do
        if not same(a[i], b[i]) then
            return false
        end
    end
    return true
end

local function text(value)
    if type(value) ~= "table" then
        return tostring(value)
    end
    local parts = {}
    for i, element in ipairs(value) do
        parts[i] = text(element)
    end
    return "{" .. table.concat(parts, ", ") .. "}"
end

local function check(actual, expected)
    if type(actual) == "userdata" then
        actual = actual:totable()
    end
    if not same(actual, expected) then
        error(text(actual) .. " is not " .. text(expected), 2)
    end
end

-- making and looking
local m = tensor.from { { 1, 2, 3 }, { 4, 5, 6 } }
check(m:shape(), { 2, 3 })
check(m:get(2, 3), 6)
check({ m:rank(), #m, m:dim(2), m:dtype() }, { 2, 2, 3, "float32" })
check(tostring(m), "tensor float32 [2, 3]")
check(tensor.full({ 2 }, 7, "int64"), { 7, 7 })
check(tensor.zeros { 0, 3 }, {})
check(tensor.from({ 1.9, -1.9, NAN, 1e30 }, "int32"), { 1, -1, 0, 2147483647 })
check(tensor.range(-1, 2), { -1, 0, 1, 2 })
check(tensor.range(1, 0), {})
check(tensor.full({}, 5):totable(), 5)
fails("equal length", tensor.from, { { 1 }, { 1, 2 } })
fails("equal length", tensor.from, { 1, "x" })
fails("not a tensor type", tensor.zeros, { 1 }, "float128")
fails("at most 8", tensor.zeros, { 1, 1, 1, 1, 1, 1, 1, 1, 1 })
fails("whole numbers", tensor.zeros, { -1 })
fails("not enough memory", tensor.zeros, { 1e6, 1e6 })
fails("address space", tensor.zeros, { 1e15, 1e15 })

-- bounds: nothing outside is ever read or written
fails("outside", m.get, m, 3, 1)
fails("outside", m.get, m, 0, 1)
fails("outside", m.get, m, 1.5, 1)
fails("outside", m.get, m, NAN, 1)
fails("number expected", m.get, m, 1)
fails("outside", m.set, m, 1, 4, 0)
fails("tensor expected", m.get, {}, 1)

-- NaN comes back as the one NaN, whatever its bits
check(tensor.from({ NAN }):get(1), NAN)
check(tensor.from({ 0 }):div(0):get(1), NAN)

-- writing one's own; views share
local w = tensor.zeros { 2, 2 }
w:row(2):set(1, 9)
check(w:set(1, 2, 5), { { 0, 5 }, { 9, 0 } })
check(m:row(1), { 1, 2, 3 })
check(m:rows(2, 2), { { 4, 5, 6 } })
check(m:rows(2, 1), {})
check(m:reshape { 3, 2 }, { { 1, 2 }, { 3, 4 }, { 5, 6 } })
fails("rows outside", m.rows, m, 1, 3)
fails("no such row", m.row, m, 3)
fails("cannot reshape", m.reshape, m, { 4, 2 })

-- arithmetic broadcasts like NumPy
check(m:add(1), { { 2, 3, 4 }, { 5, 6, 7 } })
check(m:sub(tensor.from { 1, 2, 3 }), { { 0, 0, 0 }, { 3, 3, 3 } })
check(m:mul(tensor.from { { 2 }, { 10 } }), { { 2, 4, 6 }, { 40, 50, 60 } })
check(tensor.from({ 1, 2 }):reshape({ 2, 1 }):add(tensor.from { 10, 20, 30 }),
    { { 11, 21, 31 }, { 12, 22, 32 } })
check(tensor.zeros({ 0, 3 }):add(tensor.from { 1, 2, 3 }), {})
check(tensor.from({ 4 }, "int64"):div(8), { 0.5 })
check(tensor.from({ -1, 4 }):max(0), { 0, 4 })
check(tensor.from({ 9, NAN, 4 }):min(5), { 5, NAN, 4 })
check(tensor.from({ -1, NAN, 7 }):clip(0, 5), { 0, NAN, 5 })
check(m:ge(3), { { 0, 0, 1 }, { 1, 1, 1 } })
check(tensor.from({ NAN, 1 }):eq(1), { 0, 1 })
check(tensor.from({ 1, 0, NAN }):where(10, 20), { 10, 20, 20 })
-- where many are chosen, of tensors and of numbers
for _, columns in ipairs { { 37, 37 }, { 1, 37 }, { 37, 1 }, { 1, 1 } } do
    local marks, left = {}, tensor.range(1, columns[1]):reshape { 1, columns[1] }
    local right = tensor.range(-columns[2], -1):reshape { 1, columns[2] }
    for index = 1, 37 do
        marks[index] = index % 3 == 0 and NAN or index % 2
    end
    local chosen = tensor.from({ marks, marks }):where(left, right)
    for index = 1, 37 do
        local is_left = index % 3 ~= 0 and index % 2 == 1
        local value = is_left and left:get(1, math.min(index, columns[1]))
            or not is_left and right:get(1, math.min(index, columns[2]))
        check(chosen:get(2, index), value)
    end
end
check(tensor.from({ 4, 2.25 }):sqrt():neg():abs():exp():log(), { 2, 1.5 })
check(tensor.from({ 2.5, -2.5, 1.005 }):round(), { 3, -3, 1 })
check(tensor.from({ 1.23456 }):round(3), { 1.235 })
check(tensor.from({ -1.5 }):floor(), { -2 })
check(tensor.from({ 3 }):pow(2), { 9 })
check(tensor.from({ NAN, 1 }):isnan(), { 1, 0 })
fails("shapes do not fit", m.add, m, tensor.from { 1, 2 })
fails("tensor expected", m.add, m, "x")

-- reductions take their axis away
local g = tensor.from { { 1, NAN, 3 }, { 4, 5, 9 } }
check(m:sum(1), { 5, 7, 9 })
check(m:mean(2), { 2, 5 })
check(m:mean(), 3.5)
check(m:amax(1), { 4, 5, 6 })
check(m:amin(2), { 1, 4 })
check(m:std(2), { math.sqrt(2 / 3), math.sqrt(2 / 3) })
check(m:std(2, 1), { 1, 1 })
check(g:mean(2), { NAN, 6 })
check(g:nanmean(2), { 2, 6 })
check(g:nansum(1), { 5, 5, 12 })
check(g:nanmax(2), { 3, 9 })
check(g:nanmin(2), { 1, 4 })
check(g:amax(2), { NAN, 9 })
check(g:nanstd(2, 1), { math.sqrt(2), math.sqrt(7) })
check(g:count_finite(2), { 2, 3 })
check(g:nanlast(1), { 4, 5, 9 })
check(tensor.from({ { 2, NAN }, { NAN, NAN } }):nanlast(2), { 2, NAN })
check(g:slope(2), { 1, 2.5 })
check(tensor.from({ { 7, NAN } }):slope(2), { NAN })
check(m:first_at_least(2, 2), { 2, 1 })
check(m:first_at_least(9, 2), { 0, 0 })
check(tensor.zeros({ 2, 0 }):mean(2), { NAN, NAN })
check(g:fill_forward(2), { { 1, 1, 3 }, { 4, 5, 9 } })
check(tensor.from({ NAN, 2, NAN }):fill_forward(1), { 2, 2, 2 })
check(tensor.from({ NAN, 2, NAN }):fill_forward(1, NAN), { NAN, 2, 2 })
check(tensor.from({ NAN, NAN }):fill_forward(1), { NAN, NAN })
fails("no such dimension", m.sum, m, 3)

-- whole numbers are converted first; arguments are still counted right
local whole = tensor.from({ 1, 2 }, "int64")
check(whole:round(), { 1, 2 })
check(whole:add(1), { 2, 3 })
fails("tensor expected", whole.add, whole)

-- views keep, and are charged, what they look at
fails("not enough memory", function()
    local kept = {}
    for i = 1, 64 do
        kept[i] = tensor.zeros({ 2, 4e6 }):row(1)
    end
    return kept
end)

-- no size overflows, empty or not, and emptiness costs no time
fails("address space", tensor.zeros, { 0, 1e15, 1e15 })
local hollow = tensor.zeros { 1e12, 2, 0 }
check(hollow:select(2, { 1 }):shape(), { 1e12, 1, 0 })
check(hollow:sum(2):shape(), { 1e12, 0 })
check(hollow:fill_forward(2):shape(), { 1e12, 2, 0 })

-- moving
check(m:slice(2, 2, 3), { { 2, 3 }, { 5, 6 } })
check(m:slice(1, 2, 2), { { 4, 5, 6 } })
check(m:slice(2, 3, 2), { {}, {} })
check(m:select(2, { 3, 1, 3 }), { { 3, 1, 3 }, { 6, 4, 6 } })
check(m:transpose { 2, 1 }, { { 1, 4 }, { 2, 5 }, { 3, 6 } })
check(tensor.from({ { 1 }, { 2 } }):expand { 2, 2, 2 },
    { { { 1, 1 }, { 2, 2 } }, { { 1, 1 }, { 2, 2 } } })
check(tensor.concat({ m, tensor.from { { 7 }, { 8 } } }, 2), { { 1, 2, 3, 7 }, { 4, 5, 6, 8 } })
check(tensor.concat({ m, m }, 1):shape(), { 4, 3 })
check(tensor.stack { tensor.from { 1, 2 }, tensor.from { 3, 4 } }, { { 1, 2 }, { 3, 4 } })
check(tensor.from({ 1.5, -0.5 }):astype("bool"), { 1, 1 })
fails("outside", m.slice, m, 1, 1, 3)
fails("outside", m.select, m, 1, { 3 })
fails("every dimension once", m.transpose, m, { 1, 1 })
fails("only dimensions of 1", m.expand, m, { 2, 4 })
fails("does not fit", tensor.concat, { m, tensor.from { 1 } }, 1)
fails("does not fit", tensor.stack, { m, tensor.from { 1 } })

-- calendars: 2026-03-28 was a Saturday; Prague's clocks went forward on the 29th
local days = md.calendar {
    start_ms = 1774656000000, step_s = 86400, count = 3,
    fields = { "day_of_week", "is_weekend", "day", "month", "hour" }, timezone = "Europe/Prague",
}
check(days, { { 5, 1, 28, 3, 1 }, { 6, 1, 29, 3, 1 }, { 0, 0, 30, 3, 2 } })
fails("unknown calendar field", md.calendar,
    { start_ms = 0, step_s = 1, count = 1, fields = { "fortnight" } })
for _, never in ipairs { NAN, 1e300, -1e300 } do
    fails("start_ms", md.calendar,
        { start_ms = never, step_s = 1, count = 1, fields = { "hour" } })
    fails("step_s", md.calendar,
        { start_ms = 0, step_s = never, count = 1, fields = { "hour" } })
end
fails("time zone", md.calendar,
    { start_ms = 0, step_s = 1, count = 1, fields = { "hour" }, timezone = "Mars" })

-- extremes of many neighbours, wherever the extreme or a missing value is
for count = 14, 35 do
    for at = 1, count do
        local long = tensor.range(1, count):mul(-1):sub(5)
        check(long:set(at, 7):amax(), 7)
        check(long:amin(), at == count and -4 - count or -5 - count)
        check(tostring(long:set(at, NAN):amax()), "nan")
        check(tostring(long:reshape({ 1, count }):amin(2):get(1)), "nan")
    end
end
check(tensor.full({ 20 }, -1 / 0):amax(), -1 / 0)

-- floor, on both sides of where floats have no fractions
check(tensor.from({ 2.5, -2.5, -0.25, 0.999, 8388607.5, -8388607.5, 8388609, -16777216, 3e38 })
    :floor():totable(), { 2, -3, -1, 0, 8388607, -8388608, 8388609, -16777216,
    tensor.from({ 3e38 }):get(1) })
check(1 / tensor.from({ -0.0 }):floor():get(1), -1 / 0)
check(tostring(tensor.from({ NAN }):floor():get(1)), "nan")
check(tensor.from({ 1 / 0, -1 / 0 }):floor():totable(), { 1 / 0, -1 / 0 })

-- grades: the highest limit that is reached
local graded = tensor.from { { 98, 97.9, NAN }, { 80, 79, 1 / 0 } }
check(graded:grade { { 98, 60 }, { 95, 40 }, { 80, 15 } }, { { 60, 40, 0 }, { 15, 0, 60 } })
check(tensor.from({ 0.1, 0.3 }):grade { { 0.3, 2 }, { 0.1, 1 } }, { 1, 2 }) -- float32 is above
check(tensor.from({ 0.7, 0.69999 }):grade { { 0.7, 1 } }, { 0, 0 }) -- and below
check(tensor.from({ 1 / 0, 3e38 }):grade { { 1e300, 2 }, { 1e38, 1 } }, { 2, 1 })
check(graded:grade {}, { { 0, 0, 0 }, { 0, 0, 0 } })
check(tensor.from({ 1, 5 }, "int64"):grade { { 5, 2 } }, { 0, 2 })
fails("highest limit first", graded.grade, graded, { { 1, 2 }, { 1, 3 } })
fails("highest limit first", graded.grade, graded, { { 1, 2 }, { NAN, 3 } })
fails("a list of", graded.grade, graded, { 1 })
fails("a list of", graded.grade, graded, { { 1 } })
fails("table expected", graded.grade, graded)
local by_column = { { { 98, 1 }, { 80, 2 } }, {}, { { 90, 3 } } }
check(graded:grade(by_column, 2), { { 1, 0, 0 }, { 2, 0, 3 } })
check(graded:grade({ { { 90, 1 } }, { { 79.5, 2 } } }, 1), { { 1, 1, 0 }, { 2, 0, 2 } })
check(tensor.zeros({ 2, 0 }):grade({ {}, {} }, 1):shape(), { 2, 0 })
fails("a list for each index", graded.grade, graded, by_column, 1)
fails("one for each index", graded.grade, graded, { 1, 2 }, 1)
fails("no such dimension", graded.grade, graded, by_column, 3)

-- where the highest stand: equal ones in their order, missing ones nowhere
local ranked = tensor.from { 3, NAN, 7, 3, -1 / 0, 7, 9 }
check(ranked:top(3), { 7, 3, 6 })
check(ranked:top(100), { 7, 3, 6, 1, 4, 5 })
check(ranked:top(0), {})
check(tensor.range(1, 2000):top(1000)[1000], 1001)
check(tensor.zeros({ 0 }):top(5), {})
fails("one dimension", graded.top, graded, 1)
fails("0 to 1000", ranked.top, ranked, 1001)
fails("0 to 1000", ranked.top, ranked, -1)
fails("float32", ranked.top, ranked:astype "int64", 1)

-- numbers for names
check(tensor.look_up({ "a", "c", "b", 2 }, { a = 5, b = 0.5, [2] = 7 }), { 5, NAN, 0.5, 7 })
check(tensor.look_up({ "a", "c" }, { a = 5 }, 0), { 5, 0 })
check(tensor.look_up({}, {}), {})
fails("must hold numbers", tensor.look_up, { "a" }, { a = "5" })
fails("table expected", tensor.look_up, { "a" })

-- JSON of rows: what a table of the same values would give, also when nothing else holds them
local json = md.json
local columns = { b = tensor.from { { 1, NAN }, { -2.5, 4.0625 } }, a = tensor.from { 7, 8 },
    ["quo\"te"] = tensor.from({ { { 1 }, { 2 } }, { { 3 }, { 4 } } }, "int64") }
check(json.encode(json.rows(columns):at(1)), '{"a":7,"b":[1,null],"quo\\"te":[[1],[2]]}')
check(json.encode({ json.rows(columns):at(2) }, { decimals = 2 }),
    '[{"a":8,"b":[-2.5,4.06],"quo\\"te":[[3],[4]]}]')
local row = json.rows({ low = m, high = m:mul(10) }):at(2, 3)
local before = json.rows(columns)
columns.a = nil
for _ = 1, 64 do
    tensor.zeros { 1e6 } -- garbage enough to be collected
end
check(json.encode(row), '{"high":60,"low":6}')
check(json.encode(before:at(1)), '{"a":7,"b":[1,null],"quo\\"te":[[1],[2]]}')
fails("a does not begin with 2 axes", before.at, before, 1, 1)
fails("do not begin with the same 1 axes", function()
    return json.rows({ a = m, b = tensor.from { 1, 2, 3 } }):at(1)
end)
fails("outside the tensors", before.at, before, 3)
fails("outside the tensors", before.at, before, NAN)
fails("number expected", before.at, before, "x")
fails("an index for each first axis", before.at, before)
fails("has no fields", json.rows, {})
fails("must map names to columns", json.rows, { m })
fails("cannot encode a rows", json.encode, before)

-- ... of texts, choices and other rows
local wide = tensor.from { { 1.23456, NAN }, { 3, -4.5 } }
local inner = json.rows({ now = wide, code = json.choice(wide, { "one", "two", { three = 3 } }) },
    { decimals = { now = 2 }, present = wide:eq(wide) })
local outer = json.rows {
    first = inner:inner(1), second = inner:inner(2), name = { "x", "y\"" }, same = "all", one = 1.5,
    flag = json.rows({ n = tensor.from { 7, 8 } }, { present = tensor.from { 0, 1 } }),
}
local WIDE = {
    '{"first":{"code":"one","now":1.23},"name":"x","one":1.5,"same":"all"}',
    '{"first":{"code":{"three":3},"now":3},"flag":{"n":8},"name":"y\\"","one":1.5,"same":"all",'
        .. '"second":{"code":null,"now":-4.5}}',
}
check(json.encode(outer:at(1)), WIDE[1])
check(json.encode(outer:at(2), { decimals = 3 }), WIDE[2])
check(json.encode(json.named { { names = { "b", "a\n" }, rows = outer } }),
    '{"a\\n":' .. WIDE[2] .. ',"b":' .. WIDE[1] .. "}")
check(json.encode(json.named {}), "{}")
check(json.encode(json.rows({ a = tensor.from { 1 / 3 } }, { decimals = -1 }):at(1),
    { decimals = 2 }), '{"a":0.33333334}')
fails("name has 3 rows, not 2", function()
    return json.rows({ a = wide, name = { "x", "y", "z" } }):at(1)
end)
fails("outside the tensors", inner.inner, inner, 3)
fails("2 names for 3 rows", json.named, { { names = { "a", "b" },
    rows = json.rows { a = tensor.from { 1, 2, 3 } } } })
fails("a name stands twice", json.named, { { names = { "a", "a" }, rows = outer } })
fails("a name stands twice", json.named, { { names = { "b", "a" }, rows = outer },
    { names = { "c", "b" }, rows = outer } })
fails("names must be strings", json.named, { { names = { "a", 2 }, rows = outer } })
fails("expected in the list", json.named, { { names = { "a" } } })
fails("expected in the list", json.named, { 1 })
fails("decimals are", json.rows, { a = wide }, { decimals = 10 })
fails("decimals are", json.rows, { a = wide }, { decimals = { a = NAN } })
fails("decimals are", json.rows, { a = wide }, { decimals = -2 })
fails("decimals are", json.rows, { a = wide }, { decimals = 1.5 })
fails("decimals are", json.rows, { a = wide }, { decimals = { a = "2" } })
local constant = json.rows({ a = "x" }, { present = tensor.from { { 1, 0 }, { 1, 1 } } })
check(json.encode(constant:at(2, 2)), '{"a":"x"}')
check(json.encode(json.named { { names = { "n", "m" }, rows = json.rows {
    one = constant:inner(1), two = constant:inner(2) } } }),
    '{"m":{"one":{"a":"x"},"two":{"a":"x"}},"n":{"one":{"a":"x"}}}')
fails("outside the tensors", constant.at, constant, 3, 1)
fails("another number of rows", function()
    return json.rows({ a = wide }, { present = tensor.from { 1 } }):at(1)
end)
fails("cannot encode a function", json.rows, { a = print })

-- ... of many, which several threads write: the same bytes as one by one
local names, pieces, servers = {}, {}, 1000
local many = tensor.range(1, servers * 3):div(7):reshape { servers, 3 }
local parts = json.rows({ v = many }, { present = many:slice(2, 1, 1):reshape { servers }:gt(9) })
for index = 1, servers do
    names[index] = ("n%04d"):format(index)
    if many:get(index, 1) > 9 then
        pieces[#pieces + 1] = ('"%s":%s'):format(names[index], json.encode(parts:at(index)))
    end
end
local backwards = {}
for index = 1, servers do
    backwards[index] = servers + 1 - index
end
local reversed = {}
for index, at in ipairs(backwards) do
    reversed[index] = names[at]
end
check(json.encode(json.named { { names = names, rows = parts } }),
    "{" .. table.concat(pieces, ",") .. "}")
local turned = many:select(1, backwards)
check(json.encode(json.named { { names = reversed, rows = json.rows({ v = turned },
    { present = turned:slice(2, 1, 1):reshape { servers }:gt(9) }) } }),
    "{" .. table.concat(pieces, ",") .. "}")

-- broadcasting, whichever axes are walked as one: what expanded operands give one by one
local function product(shape)
    local count = 1
    for _, dim in ipairs(shape) do
        count = count * dim
    end
    return count
end
local function counted(shape, factor)
    return tensor.range(1, product(shape)):mul(factor):reshape(shape)
end
for _, shapes in ipairs {
    { { 2, 3, 4 }, { 2, 3, 4 }, { 2, 3, 4 } }, { { 2, 3, 4 }, { 3, 4 }, { 4 } },
    { { 2, 3, 4 }, { 2, 1, 4 }, { 2, 3, 1 } }, { { 2, 3, 1 }, { 1, 1, 4 }, { 1, 3, 1 } },
    { { 2, 1, 3, 2 }, { 2, 1, 1, 2 }, { 2 } }, { { 2, 5, 1 }, { 1 }, { 2, 1, 1 } },
    { { 1, 1 }, { 1 }, { 1, 1, 1 } }, { { 3, 1, 2, 1, 2 }, { 2, 1, 2 }, { 3, 1, 1, 1, 1 } },
} do
    local a, b, c = counted(shapes[1], 1), counted(shapes[2], 100), counted(shapes[3], -1)
    local sum, chosen = a:add(b):add(c), c:add(3):max(0):where(a, b)
    local shape, count = sum:shape(), product(sum:shape())
    local x = a:expand(shape):reshape { count }
    local y = b:expand(shape):reshape { count }
    local z = c:expand(shape):reshape { count }
    local sums, choices = {}, {}
    for i = 1, count do
        sums[i] = x:get(i) + y:get(i) + z:get(i)
        choices[i] = z:get(i) > -3 and x:get(i) or y:get(i)
    end
    check(sum:reshape { count }, sums)
    check(chosen:expand(shape):reshape { count }, choices)
end

-- columns side by side: where each comes from, what is filled, scaled, coded and left out
local windows = tensor.from {
    { { 1, 10, 0 }, { NAN, 20, 1 }, { 3, NAN, NAN } },
    { { NAN, NAN, 2 }, { 5, NAN, 9 }, { NAN, NAN, 0.5 } },
}
local scale = tensor.from { 2, 4 }
local sized = { rows = 2, steps = 3 }
check(tensor.columns({
    { from = windows },
    { from = windows, forward = true },
    { from = windows, column = 2, forward = true, sub = 10, div = scale, absent = -1 },
    { from = windows, column = 3, map = { 7, 8 }, absent = 4 },
    { from = 6, div = 3 },
}, sized), {
    { { 1, 1, 0, 7, 2 }, { NAN, 1, 5, 8, 2 }, { 3, 3, 5, 4, 2 } },
    { { NAN, 5, -1, 0, 2 }, { 5, 5, -1, 0, 2 }, { NAN, 5, -1, 0, 2 } },
})
-- one row, one step or one number that stands for all; a later part of the steps
local calendar = tensor.from { { { 1 }, { 2 }, { 3 }, { 4 } } }
check(tensor.columns({ { from = calendar }, { from = calendar, first = 2 },
    { from = scale:reshape { 2, 1, 1 }, sub = scale } }, sized), {
    { { 1, 2, 0 }, { 2, 3, 0 }, { 3, 4, 0 } }, { { 1, 2, 0 }, { 2, 3, 0 }, { 3, 4, 0 } } })
-- short rows: their newest steps come first, filled with what was before them
check(tensor.columns({ { from = windows, forward = true }, { from = calendar } },
    { rows = 2, steps = 3, lengths = { 2, 1 } }), {
    { { 1, 2 }, { 3, 3 }, { 0, 0 } }, { { 5, 3 }, { 0, 0 }, { 0, 0 } } })
-- one value a row, that is missing in one; rows without a step
local alone = tensor.from({ 3, NAN }):reshape { 2, 1, 1 }
local ones = { { from = alone, forward = true, sub = 1, absent = 9 },
    { from = alone, map = { 7, 8, 6, 5 } }, { from = alone, div = scale } }
check(tensor.columns(ones, { rows = 2, steps = 2, lengths = { 2, 0 } }),
    { { { 2, 5, 1.5 }, { 2, 5, 1.5 } }, { { 0, 0, 0 }, { 0, 0, 0 } } })
check(tensor.columns(ones, { rows = 2, steps = 2, lengths = { 0, 1 } }),
    { { { 0, 0, 0 }, { 0, 0, 0 } }, { { 9, NAN, NAN }, { 0, 0, 0 } } })
check(tensor.columns(ones, { rows = 2, steps = 2, lengths = { 1, 2 }, dtype = "int64" }),
    { { { 2, 5, 1 }, { 0, 0, 0 } }, { { 9, 0, 0 }, { 9, 0, 0 } } })
-- columns that lie side by side in both are made side by side, each with numbers of its own
local sides = {
    { from = windows, column = 1, forward = true, sub = 1, absent = -1 },
    { from = windows, column = 2, forward = true, div = scale, absent = -2 },
    { from = windows, column = 3, forward = true },
}
check(tensor.columns(sides, sized), {
    { { 0, 5, 0 }, { 0, 10, 1 }, { 2, 10, 1 } },
    { { 4, -2, 2 }, { 4, -2, 9 }, { 4, -2, 0.5 } },
})
sides[4] = { from = calendar }
check(tensor.columns(sides, { rows = 2, steps = 3, lengths = { 1, 2 } }), {
    { { 2, 10, 1, 3 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 } },
    { { 4, -2, 9, 2 }, { 4, -2, 0.5, 3 }, { 0, 0, 0, 0 } },
})
local missing = { { from = windows, absent = 8 }, { from = windows, column = 2, sub = scale } }
check(tensor.columns(missing, sized), {
    { { 1, 8 }, { 8, 18 }, { 3, NAN } }, { { 8, NAN }, { 5, NAN }, { 8, NAN } } })
-- whole numbers, cut towards zero; a missing one is 0
local codes = tensor.columns({ { from = windows, sub = 2.5 }, { from = -1e30 } },
    { rows = 2, steps = 3, dtype = "int64" })
check(codes:dtype(), "int64")
check(codes:slice(3, 1, 1):reshape { 6 }, { -1, 0, 0, 0, 2, 0 })
check(codes:get(1, 1, 2) < -9e18, true)
check(tensor.columns({ { from = windows } }, { rows = 2, steps = 0 }):shape(), { 2, 0, 1 })
check(tensor.columns({ { from = windows:slice(1, 1, 0) } }, { rows = 0, steps = 3 }):shape(),
    { 0, 3, 1 })
-- many rows and steps, which several threads fill: the same as other ways to say it
local wide_rows, wide_steps = 40, 700
local long = tensor.range(1, wide_rows * wide_steps * 2):reshape { wide_rows, wide_steps, 2 }
local holes = long:div(7):sub(long:div(7):floor()):lt(0.3):where(NAN, long)
local lengths = {}
for index = 1, wide_rows do
    lengths[index] = wide_steps
end
check(tensor.columns({ { from = holes, forward = true, sub = 3, div = 7 },
    { from = holes, column = 2, absent = 5 } },
    { rows = wide_rows, steps = wide_steps, lengths = lengths }),
    tensor.concat({ holes:fill_forward(2):slice(3, 1, 1):sub(3):div(7),
        holes:isnan():where(5, holes):slice(3, 2, 2) }, 3):totable())
fails("1 to 4096 columns", tensor.columns, {}, sized)
fails("column 1 is no table", tensor.columns, { 7 }, sized)
fails("neither a number nor a float32 tensor", tensor.columns, { { column = 1 } }, sized)
fails("neither a number nor a float32 tensor", tensor.columns, { { from = codes } }, sized)
fails("does not have 3 rows", tensor.columns, { { from = windows } }, { rows = 3, steps = 3 })
fails("of 4 steps", tensor.columns, { { from = windows } }, { rows = 2, steps = 4 })
fails("of 3 steps", tensor.columns, { { from = windows, first = 2 } }, sized)
fails("column: 4", tensor.columns, { { from = windows, column = 4 } }, sized)
fails("not .rows, steps, columns.", tensor.columns, { { from = scale } }, sized)
fails("number for each row", tensor.columns, { { from = windows, sub = calendar } }, sized)
fails("absent of column 1 is no number", tensor.columns, { { from = 1, absent = scale } }, sized)
fails("list of numbers", tensor.columns, { { from = windows, map = { "a" } } }, sized)
fails("one for each row", tensor.columns, { { from = windows } },
    { rows = 2, steps = 3, lengths = { 1 } })
fails("whole number from 0 to 3", tensor.columns, { { from = windows } },
    { rows = 2, steps = 3, lengths = { 1, 4 } })
fails("float32 or int64", tensor.columns, { { from = windows } },
    { rows = 2, steps = 3, dtype = "int32" })
