-- What model families build graphs with: a thin layer over the runtime's graph builder.
--
--   local x = g:input("x", "float32", { g:symbol("batch", 3), 8 })
--   local y = g:Softmax(g:MatMul(x, g:constant(weights:get("w", { 8, 4 }))), { axis = -1 })
--   g:output("y", y)
--
-- Operators carry ONNX names and semantics. g:Name(value, ..., attributes) adds one with one
-- result, g:op(name, values, attributes, { outputs = n, name = "..." }) any other. Values are
-- opaque.

local native = require "moondial.native"

local value = {} -- metatable of graph values
local graph = {}

-- A float attribute, also when its number is whole: { epsilon = g.float(1) }.
function graph.float(number)
    return { float = number }
end

-- An int64 constant: a number (a scalar) or an array of numbers (a vector).
function graph.int64(numbers)
    if type(numbers) == "number" then
        return native.tensor.full({}, numbers, "int64")
    end
    return native.tensor.from(numbers, "int64")
end

-- The number that ONNX's Cast knows a type by.
graph.dtype = native.graph.dtype

-- Stands for an optional input that is left out.
graph.none = setmetatable({ id = -1 }, value)

-- A dimension that a plan binds to a size. sample: a small typical size, for checks at load.
function graph:symbol(name, sample)
    return self.native:symbol(name, sample or 0)
end

function graph:input(name, dtype, dimensions)
    return setmetatable({ id = self.native:input(name, dtype, dimensions) }, value)
end

-- A tensor, or a number for a float32 scalar.
function graph:constant(tensor, name)
    if type(tensor) == "number" then
        tensor = native.tensor.full({}, tensor, "float32")
    end
    return setmetatable({ id = self.native:constant(tensor, name or "") }, value)
end

function graph:output(name, result)
    self.native:output(name, result.id)
end

local function wrap(...)
    local results = { ... }
    for i, id in ipairs(results) do
        results[i] = setmetatable({ id = id }, value)
    end
    return unpack(results)
end

function graph:op(name, inputs, attributes, options)
    local ids = {}
    for i, input in ipairs(inputs) do
        if getmetatable(input) ~= value then
            error(("input %d of %s is a %s, not a graph value"):format(i, name, type(input)), 2)
        end
        ids[i] = input.id
    end
    options = options or {}
    return wrap(self.native:node(name, options.name or "", ids, attributes or {},
        options.outputs or 1))
end

-- g:Add(a, b), g:Concat(a, b, { axis = 1 }).
local function operator(name)
    return function(self, ...)
        local inputs, attributes = { ... }, nil
        if #inputs > 0 and getmetatable(inputs[#inputs]) ~= value then
            attributes = table.remove(inputs)
        end
        return self:op(name, inputs, attributes)
    end
end

local meta = {
    __index = function(_, name)
        return graph[name] or operator(name)
    end,
}

-- Wraps the native builder that the runtime hands to a family.
return function(builder)
    return setmetatable({ native = builder }, meta)
end
