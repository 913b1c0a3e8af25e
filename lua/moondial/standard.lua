-- Functions of Lua's own library that are made safe to hand to scripts: what they do stays within
-- the time budget of whoever calls them, and they leave the tables alone that all requests share.
--
-- This file is compiled with checkpoints like any other, so that its loops and its recursion can be
-- stopped; what stays in C says how much it is about to do (spend). It sees the real globals, and
-- `limits` beside them. string.find, match, gmatch and gsub are in runtime/script/strings.c.

local RUN = 8 -- elements that insertion sorts faster than merging
local MOVES_PER_UNIT = 8 -- elements that C moves while one unit of work is done
local limits = limits -- luacheck: globals limits
local getmetatable, type, min = getmetatable, type, math.min
local raw = { tostring = tostring }
for name, value in pairs(table) do
    raw[name] = value
end
local safe = { table = {} }

local function spend(units)
    if limits.budget.spend(units) ~= 0 then
        limits.stop()
    end
end

-- A plain table that may be changed; the error is the caller's caller's.
local function check_list(list, name)
    if type(list) ~= "table" then
        error(("bad argument #1 to '%s' (table expected, got %s)"):format(name, type(list)), 3)
    end
    if getmetatable(list) == false and limits.is_frozen(list) then
        error(("table.%s: this table is read-only"):format(name), 3)
    end
end

-- A __tostring that is this function itself would never end.
function safe.tostring(value)
    return raw.tostring(value)
end

function safe.table.insert(list, ...)
    check_list(list, "insert")
    if select("#", ...) > 1 then
        spend(#list / MOVES_PER_UNIT)
    end
    return raw.insert(list, ...)
end

function safe.table.remove(list, ...)
    check_list(list, "remove")
    if select("#", ...) > 0 then
        spend(#list / MOVES_PER_UNIT)
    end
    return raw.remove(list, ...)
end

function safe.table.move(from, first, last, to, target)
    target = target or from
    check_list(target, "move")
    if first <= to and to <= last and target == from then
        for i = last - first, 0, -1 do
            target[to + i] = from[first + i]
        end
    else
        for i = 0, last - first do
            target[to + i] = from[first + i]
        end
    end
    return target
end

-- ---- sort: merges, so that no comparison function can make it run astray

local function is_less(a, b)
    return a < b
end

-- list[first .. last] in order, into out.
local function sort_run(list, out, first, last, less)
    for i = first, last do
        local value, place = list[i], i
        while place > first and less(value, out[place - 1]) do
            out[place] = out[place - 1]
            place = place - 1
        end
        out[place] = value
    end
end

-- from[first .. middle - 1] and from[middle .. beyond - 1] into to.
local function merge(from, to, first, middle, beyond, less)
    local left, right = first, middle
    for i = first, beyond - 1 do
        if left < middle and (right >= beyond or not less(from[right], from[left])) then
            to[i] = from[left]
            left = left + 1
        else
            to[i] = from[right]
            right = right + 1
        end
    end
end

-- Equal elements keep their order; when `less` raises, the list is as it was.
function safe.table.sort(list, less)
    check_list(list, "sort")
    if less ~= nil and type(less) ~= "function" then
        error(("bad argument #2 to 'sort' (function expected, got %s)"):format(type(less)), 2)
    end
    less = less or is_less
    local count, from, to = #list, {}, {}
    for first = 1, count, RUN do
        sort_run(list, from, first, min(first + RUN - 1, count), less)
    end
    local width = RUN
    while width < count do
        for first = 1, count, 2 * width do
            merge(from, to, first, min(first + width, count + 1),
                min(first + 2 * width, count + 1), less)
        end
        from, to, width = to, from, 2 * width
    end
    for i = 1, count do
        list[i] = from[i]
    end
end


return safe
