-- Error handlers that fail, in each other.
-- expect: 200 false

local function bad() error "bad" end
return function() return tostring((xpcall(bad, function() bad() end))) end
