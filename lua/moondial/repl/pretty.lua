-- Values as text for people: `pretty.show(value, options)`.
--
-- A table is one line when it fits and one line an entry when it does not; keys are sorted. Depth,
-- entries, the length of strings and the number of values in all are bounded, so that no value can
-- flood a terminal. Objects of C are described by options.describe; a table whose metatable has
-- __repl(self, paint) is shown as that says.

local pretty = {}

local DEFAULTS = {
    width = 100,   -- columns of the screen
    depth = 4,     -- nested tables
    entries = 60,  -- of one table
    text = 500,    -- bytes of one string
    values = 4000, -- in all
    color = false,
}

local COLORS = { string = "32", number = "36", boolean = "33", dim = "2", head = "1", bad = "31" }

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
    return then true until while]]):gmatch("%a+") do
    KEYWORDS[word] = true
end

-- ---- text ----------------------------------------------------------------------------------

-- Characters, not bytes, and no colours: how far the cursor moves.
function pretty.width(text)
    local plain = text:gsub("\27%[[%d;]*m", "")
    local _, count = plain:gsub("[^\128-\191]", "")
    return count
end

-- A function that colours text of a kind, or leaves it alone.
function pretty.painter(color)
    return function(kind, text)
        if not color or not COLORS[kind] then
            return text
        end
        return "\27[" .. COLORS[kind] .. "m" .. text .. "\27[0m"
    end
end

local ESCAPES = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ["\""] = "\\\"", ["\\"] = "\\\\" }

-- Bytes that a terminal could take for commands are written as numbers.
function pretty.quote(text)
    return '"' .. text:gsub('[%c"\\\127]', function(byte)
        return ESCAPES[byte] or ("\\%03d"):format(byte:byte())
    end) .. '"'
end

-- Cut between characters.
local function cut(text, bytes)
    if #text <= bytes then
        return text
    end
    while bytes > 0 and text:byte(bytes + 1) >= 0x80 and text:byte(bytes + 1) < 0xC0 do
        bytes = bytes - 1
    end
    return text:sub(1, bytes)
end

function pretty.number(value)
    if value ~= value then
        return "nan"
    elseif value == math.huge or value == -math.huge then
        return value > 0 and "inf" or "-inf"
    end
    return ("%.14g"):format(value)
end

local BYTES = { "B", "KB", "MB", "GB" }

function pretty.bytes(count)
    local unit = 1
    while count >= 1000 and unit < #BYTES do
        count, unit = count / 1000, unit + 1
    end
    return (unit == 1 and "%d %s" or "%.1f %s"):format(count, BYTES[unit])
end

-- 0.0000123 s is "12.3 us".
function pretty.seconds(value)
    if value < 1e-6 then
        return ("%.0f ns"):format(value * 1e9)
    elseif value < 1e-3 then
        return ("%.3g us"):format(value * 1e6)
    elseif value < 1 then
        return ("%.3g ms"):format(value * 1e3)
    end
    return ("%.4g s"):format(value)
end

-- ---- sparklines ----------------------------------------------------------------------------

local BARS = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }

-- One character a number, NaN is a blank.
function pretty.sparkline(values)
    local low, high = math.huge, -math.huge
    for _, value in ipairs(values) do
        if value == value then
            low, high = math.min(low, value), math.max(high, value)
        end
    end
    local bars = {}
    for index, value in ipairs(values) do
        local share = high > low and (value - low) / (high - low) or 0
        bars[index] = value == value and BARS[math.floor(share * (#BARS - 1) + 0.5) + 1] or " "
    end
    return table.concat(bars)
end

-- ---- tables of rows ------------------------------------------------------------------------

local function cell(value)
    if type(value) == "number" then
        return value == math.floor(value) and pretty.number(value) or ("%.6g"):format(value)
    end
    return value == nil and "" or tostring(value)
end

local function padded(text, width, right)
    local blanks = (" "):rep(width - pretty.width(text))
    return right and blanks .. text or text .. blanks
end

-- Rows under the names of their columns, numbers to the right; at most `limit` of them.
function pretty.grid(columns, rows, paint, limit)
    local shown = math.min(#rows, limit or DEFAULTS.entries)
    local widths, right, cells = {}, {}, {}
    for at, column in ipairs(columns) do
        widths[at] = pretty.width(column)
    end
    for line = 1, shown do
        cells[line] = {}
        for at, column in ipairs(columns) do
            local text = cell(rows[line][column])
            cells[line][at] = text
            widths[at] = math.max(widths[at], pretty.width(text))
            right[at] = right[at] or type(rows[line][column]) == "number"
        end
    end
    local lines = {}
    local function add(texts, kind)
        local parts = {}
        for at, text in ipairs(texts) do
            parts[at] = padded(text, widths[at], right[at])
        end
        lines[#lines + 1] = paint(kind, (table.concat(parts, "  "):gsub("%s+$", "")))
    end
    add(columns, "head")
    for _, texts in ipairs(cells) do
        add(texts, "plain")
    end
    if shown < #rows then
        lines[#lines + 1] = paint("dim", ("... %d more"):format(#rows - shown))
    end
    return table.concat(lines, "\n")
end

-- ---- values --------------------------------------------------------------------------------

local RANK = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
    local kind_a, kind_b = type(a), type(b)
    if kind_a ~= kind_b then
        return (RANK[kind_a] or 9) < (RANK[kind_b] or 9)
            or (RANK[kind_a] == RANK[kind_b] and kind_a < kind_b)
    elseif RANK[kind_a] and kind_a ~= "boolean" then
        return a < b
    end
    return tostring(a) < tostring(b)
end

local function sorted_keys(value, length)
    local keys = {}
    for key in next, value do
        local is_item = type(key) == "number" and key >= 1 and key <= length
            and key == math.floor(key)
        if not is_item then
            keys[#keys + 1] = key
        end
    end
    table.sort(keys, before)
    return keys
end

local render

local function key_text(context, key)
    if type(key) == "string" and key:find("^[%a_][%w_]*$") and not KEYWORDS[key] then
        return key
    end
    return "[" .. render(context, key, 0, 0) .. "]"
end

-- The entries of a table as texts, and whether one of them has several lines.
local function entries_of(context, value, indent, depth)
    local texts, has_lines, length = {}, false, #value
    local keys = sorted_keys(value, length)
    local function add(text)
        texts[#texts + 1] = text
        has_lines = has_lines or text:find("\n", 1, true) ~= nil
    end
    local room = context.entries
    for index = 1, math.min(length, room) do
        add(render(context, rawget(value, index), indent, depth))
    end
    for at = 1, math.min(#keys, room - #texts) do
        local head = key_text(context, keys[at]) .. " = "
        add(head .. render(context, rawget(value, keys[at]), indent, depth, #head))
    end
    local hidden = length + #keys - #texts
    return texts, has_lines, hidden > 0 and context.paint("dim", ("... %d more"):format(hidden))
end

-- Short entries share lines.
local function fill_lines(texts, indent, width)
    local lines, line = {}, ""
    for index, text in ipairs(texts) do
        local item = index < #texts and text .. "," or text
        if line ~= "" and indent + pretty.width(line) + pretty.width(item) + 1 > width then
            lines[#lines + 1] = line
            line = item
        else
            line = line == "" and item or line .. " " .. item
        end
    end
    lines[#lines + 1] = line
    return lines
end

local function join_entries(context, value, texts, has_lines, more, indent, used)
    local all = table.concat(texts, ", ") .. (more and ", " .. more or "")
    if not has_lines and indent + used + pretty.width(all) + 4 <= context.width then
        return all == "" and "{}" or "{ " .. all .. " }"
    end
    local margin = (" "):rep(indent + 4)
    local is_plain = #value > 0 and type(value[1]) ~= "table" and not has_lines
    local lines = is_plain and fill_lines(texts, indent + 4, context.width) or texts
    local separator = is_plain and "\n" .. margin or ",\n" .. margin
    return "{\n" .. margin .. table.concat(lines, separator)
        .. (more and "\n" .. margin .. more or "") .. "\n" .. (" "):rep(indent) .. "}"
end

local function render_table(context, value, indent, depth, used)
    local meta = getmetatable(value)
    if type(meta) == "table" and type(meta.__repl) == "function" then
        return meta.__repl(value, context.paint)
    end
    value = context.behind and context.behind(value) or value
    if context.open[value] then
        return context.paint("dim", "<cycle>")
    elseif depth >= context.depth and next(value) ~= nil then
        return context.paint("dim", "{...}")
    end
    context.open[value] = true
    local texts, has_lines, more = entries_of(context, value, indent + 4, depth + 1)
    context.open[value] = nil
    return join_entries(context, value, texts, has_lines, more, indent, used or 0)
end

local function render_string(context, value)
    local shown = cut(value, context.text)
    local text = context.paint("string", pretty.quote(shown))
    if #shown < #value then
        text = text .. context.paint("dim", (" ... %d bytes"):format(#value))
    end
    return text
end

local function render_function(context, value)
    local file, first = nil, nil
    if context.where then
        file, first = context.where(value)
    end
    local place = file and (" (%s:%d)"):format(file, first) or ""
    return context.paint("dim", "function" .. place)
end

local RENDER = {
    string = render_string,
    number = function(context, value)
        return context.paint("number", pretty.number(value))
    end,
    boolean = function(context, value)
        return context.paint("boolean", tostring(value))
    end,
    ["nil"] = function()
        return "nil"
    end,
    ["function"] = render_function,
    table = render_table,
}

-- `used`: what stands before the value on its line.
function render(context, value, indent, depth, used)
    context.left = context.left - 1
    if context.left < 0 then
        return "..."
    end
    local by_type = RENDER[type(value)]
    if by_type then
        return by_type(context, value, indent, depth, used)
    end
    local text = context.describe and context.describe(value, context.paint, depth)
    return text or context.paint("dim", "<" .. type(value) .. ">")
end

-- options: width, depth, entries, text, values, color; describe(object, paint, depth) -> text for
-- what C made; where(function) -> file, line; behind(table) -> what a read-only face hides.
function pretty.show(value, options)
    local context = { open = {} }
    for name, default in pairs(DEFAULTS) do
        context[name] = options and options[name] or default
    end
    for _, name in ipairs { "describe", "where", "behind" } do
        context[name] = options and options[name]
    end
    context.left = context.values
    context.paint = pretty.painter(context.color)
    return render(context, value, 0, 0)
end

return pretty
