-- Resumes what has ended, and itself.
-- expect: 200 dead

return function()
    local co = coroutine.create(function() end)
    coroutine.resume(co)
    local again = coroutine.resume(co)
    local own
    own = coroutine.create(function() return coroutine.resume(own) end)
    local _, itself = coroutine.resume(own)
    return not again and not itself and coroutine.status(co) or "alive"
end
