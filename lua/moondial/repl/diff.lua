-- Differences of two texts, line by line, in the unified format that `patch` reads.

local diff = {}

local CONTEXT = 3
local CELLS_MAX = 4000000 -- of the table below; beyond it everything in between counts as changed

function diff.lines(text)
    local lines = {}
    for line in (text:gsub("\n$", "") .. "\n"):gmatch("(.-)\n") do
        lines[#lines + 1] = line
    end
    return text == "" and {} or lines
end

-- lengths[i][j]: of the longest common subsequence of a from i and b from j.
local function common(a, b, first, last_a, last_b)
    local lengths = { [last_a + 1] = {} }
    for i = last_a, first, -1 do
        local row, below = {}, lengths[i + 1]
        for j = last_b, first, -1 do
            if a[i] == b[j] then
                row[j] = (below[j + 1] or 0) + 1
            else
                row[j] = math.max(below[j] or 0, row[j + 1] or 0)
            end
        end
        lengths[i] = row
    end
    return lengths
end

local function at(lengths, i, j)
    return lengths and lengths[i] and lengths[i][j] or 0
end

-- { { kind = " " | "-" | "+", text = }, ... }: how a becomes b.
function diff.edits(a, b)
    local first, last_a, last_b = 1, #a, #b
    while first <= last_a and first <= last_b and a[first] == b[first] do
        first = first + 1
    end
    while last_a >= first and last_b >= first and a[last_a] == b[last_b] do
        last_a, last_b = last_a - 1, last_b - 1
    end
    local small = (last_a - first + 1) * (last_b - first + 1) <= CELLS_MAX
    local lengths = small and common(a, b, first, last_a, last_b)
    local edits = {}
    local function add(kind, text)
        edits[#edits + 1] = { kind = kind, text = text }
    end
    for i = 1, first - 1 do
        add(" ", a[i])
    end
    local i, j = first, first
    while i <= last_a or j <= last_b do
        if small and i <= last_a and j <= last_b and a[i] == b[j] then
            add(" ", a[i])
            i, j = i + 1, j + 1
        elseif i <= last_a and (j > last_b or not small or at(lengths, i + 1, j)
                >= at(lengths, i, j + 1)) then
            add("-", a[i])
            i = i + 1
        else
            add("+", b[j])
            j = j + 1
        end
    end
    for k = last_a + 1, #a do
        add(" ", a[k])
    end
    return edits
end

-- Runs of edits with their context: { from, to } into the list.
local function hunks_of(edits)
    local hunks = {}
    for index, edit in ipairs(edits) do
        if edit.kind ~= " " then
            local last = hunks[#hunks]
            if last and index - CONTEXT <= last.to + 1 then
                last.to = math.min(index + CONTEXT, #edits)
            else
                hunks[#hunks + 1] = { from = math.max(index - CONTEXT, 1),
                    to = math.min(index + CONTEXT, #edits) }
            end
        end
    end
    return hunks
end

local function range(start, count)
    return count == 1 and tostring(start) or ("%d,%d"):format(count == 0 and start - 1 or start,
        count)
end

local KINDS = { ["+"] = "string", ["-"] = "bad", [" "] = "plain" }

-- paint(kind, text): colours, may be nil. "" when the texts are equal.
function diff.unified(before, after, name, paint)
    paint = paint or function(_, text)
        return text
    end
    local edits = diff.edits(diff.lines(before), diff.lines(after))
    local out, line_a, line_b, done = {}, 1, 1, 0
    local function skip_to(index)
        for k = done + 1, index do
            line_a = line_a + (edits[k].kind ~= "+" and 1 or 0)
            line_b = line_b + (edits[k].kind ~= "-" and 1 or 0)
        end
        done = index
    end
    for _, hunk in ipairs(hunks_of(edits)) do
        skip_to(hunk.from - 1)
        local start_a, start_b = line_a, line_b
        skip_to(hunk.to)
        out[#out + 1] = paint("dim", ("@@ -%s +%s @@"):format(range(start_a, line_a - start_a),
            range(start_b, line_b - start_b)))
        for k = hunk.from, hunk.to do
            out[#out + 1] = paint(KINDS[edits[k].kind], edits[k].kind .. edits[k].text)
        end
    end
    if #out == 0 then
        return ""
    end
    local head = name and ("--- a/%s\n+++ b/%s\n"):format(name, name) or ""
    return paint("head", head) .. table.concat(out, "\n") .. "\n"
end

return diff
