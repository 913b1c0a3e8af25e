-- The checkpoint's own names, spelled at run time.
-- expect: 200 nil

local md = require "moondial"
return function() return tostring(rawget(md, "md__" .. "ck")) end
