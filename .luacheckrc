-- LuaJIT 2.1 as Moondial loads it: no globals of our own anywhere.
std = "luajit"
max_line_length = 100
allow_defined = false
unused_args = true
cache = false
-- Scripts that are broken on purpose live in folders named bad.
exclude_files = { "build", ".cache", "tests/**/bad/**",
    "tests/server/hostile/**" }

-- Rule files are data; the alert vocabulary is in scope while they load.
files["scripts/*/alerts.lua"] = { read_globals = { "forecast", "absent" } }
