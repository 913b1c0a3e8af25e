-- Civil time from UTC milliseconds, without the operating system: time is always an argument here.

local DAY_MS = 86400000
local HOUR_MS = 3600000

local calendar = { DAY_MS = DAY_MS, HOUR_MS = HOUR_MS, MINUTE_MS = 60000 }

-- Hour of the day as a fraction, 0 <= h < 24.
function calendar.hour(now_ms)
    return now_ms % DAY_MS / HOUR_MS
end

-- Monday = 0 ... Sunday = 6; 1970-01-01 was a Thursday.
function calendar.weekday(now_ms)
    return (math.floor(now_ms / DAY_MS) + 3) % 7
end

-- Days since 1970-01-01 of a date in the Gregorian calendar. The year begins in March, which puts
-- the leap day last; an era is 400 years, 146097 days.
function calendar.days(year, month, day)
    local shifted = month <= 2 and year - 1 or year
    local era = math.floor(shifted / 400)
    local year_of_era = shifted - era * 400
    local day_of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
    local day_of_era = year_of_era * 365 + math.floor(year_of_era / 4)
        - math.floor(year_of_era / 100) + day_of_year
    return era * 146097 + day_of_era - 719468
end

local function date_of(days)
    local shifted = days + 719468
    local era = math.floor(shifted / 146097)
    local day_of_era = shifted - era * 146097
    local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460)
        + math.floor(day_of_era / 36524) - math.floor(day_of_era / 146096)) / 365)
    local day_of_year = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4)
        - math.floor(year_of_era / 100))
    local shifted_month = math.floor((5 * day_of_year + 2) / 153)
    local month = shifted_month < 10 and shifted_month + 3 or shifted_month - 9
    local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
    return year, month, day_of_year - math.floor((153 * shifted_month + 2) / 5) + 1
end

-- "2026-01-01T00:00:05Z"; milliseconds are dropped.
function calendar.iso(now_ms)
    local year, month, day = date_of(math.floor(now_ms / DAY_MS))
    local second = math.floor(now_ms % DAY_MS / 1000)
    return string.format("%04d-%02d-%02dT%02d:%02d:%02dZ", year, month, day,
        math.floor(second / 3600), math.floor(second / 60) % 60, second % 60)
end

-- "2026-01-01" or "2026-01-01T06:30:00" (with or without Z) to milliseconds; nil when neither.
function calendar.parse(text)
    local year, month, day, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
    if not year then
        return nil
    end
    local hour, minute, second = rest:match("^[T ](%d%d):(%d%d):(%d%d)Z?$")
    if rest ~= "" and not hour then
        return nil
    end
    local days = calendar.days(tonumber(year), tonumber(month), tonumber(day))
    local seconds = tonumber(hour or 0) * 3600 + tonumber(minute or 0) * 60 + tonumber(second or 0)
    return days * DAY_MS + seconds * 1000
end

return calendar
