-- A file that nobody declared.
-- expect: 200 FORBIDDEN

local md = require "moondial"
return function()
    local _, why = md.file.read "/etc/passwd"
    return why.code
end
