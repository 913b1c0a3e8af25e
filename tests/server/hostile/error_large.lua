-- A message of a megabyte with every byte there is.
-- expect: 500 script

return function() error(("\0\1\n\255%s%n"):rep(2e5)) end
