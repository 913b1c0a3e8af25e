-- What `md` and its tables hold, by name, for suggestions: the tables themselves are frozen, and do
-- not list what is in them. names.of[""] is md, names.of.json is md.json.

local names = { of = {} }

function names.note(name, members)
    local known = {}
    for member in pairs(members) do
        known[member] = true
    end
    names.of[name] = known
end

return names
