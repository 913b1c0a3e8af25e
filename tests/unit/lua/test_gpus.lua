-- Rows of a batch by a GPU's name: the table finds the names that drivers give, and others get what
-- their memory suggests.

package.path = "tests/lib/?.lua;lua/?.lua;" .. package.path

local gpus = require "moondial.gpus"
local check = require "check"

local GIB = 1024 ^ 3

check.test("names as drivers give them", function()
    for name, rows in pairs {
        ["NVIDIA H200"] = 1024,
        ["NVIDIA H100 80GB HBM3"] = 512,
        ["NVIDIA A100-SXM4-40GB"] = 512,
        ["NVIDIA A10G"] = 128,
        ["NVIDIA L40S"] = 256,
        ["NVIDIA L4"] = 128,
        ["Tesla T4"] = 64,
    } do
        check.equal(gpus.rows(name, 0), rows, name)
    end
end)

check.test("others by their memory, within bounds", function()
    check.equal(gpus.rows("NVIDIA X", 2 * GIB), 32)
    check.equal(gpus.rows("NVIDIA X", 24 * GIB), 96)
    check.equal(gpus.rows("NVIDIA X", 2 ^ 62), 256)
    check.equal(gpus.rows("NVIDIA X"), 32)
end)

check.test("nothing without a GPU", function()
    check.equal(gpus.rows(nil), nil)
end)

check.finish()
