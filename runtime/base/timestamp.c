/*
 * Timestamps as text; see the header for the accepted forms. Dates are checked: 2026-02-30 is an
 * error.
 */
#include "base/timestamp.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/clock.h"

/* Reads exactly `count` digits. */
static bool digits(const char **p, int count, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++) {
        if (!isdigit((unsigned char)(*p)[i]))
            return false;
        *value = *value * 10 + ((*p)[i] - '0');
    }
    *p += count;
    return true;
}

static bool accept(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static bool parse_date(const char **p, struct md_civil *civil)
{
    if (!digits(p, 4, &civil->year) || !accept(p, '-') || !digits(p, 2, &civil->month) ||
        !accept(p, '-') || !digits(p, 2, &civil->day))
        return false;
    if (civil->month < 1 || civil->month > 12 || civil->day < 1 || civil->day > 31)
        return false;
    struct md_civil back; /* a day that the month does not have moves into the next one */
    md_civil_from_ms(md_civil_to_ms(&(struct md_civil){
                         .year = civil->year, .month = civil->month, .day = civil->day}),
                     &back);
    return back.day == civil->day && back.month == civil->month;
}

static bool parse_clock(const char **p, struct md_civil *civil)
{
    if (!digits(p, 2, &civil->hour) || !accept(p, ':') || !digits(p, 2, &civil->minute))
        return false;
    if (accept(p, ':')) {
        if (!digits(p, 2, &civil->second))
            return false;
        if (accept(p, '.') || accept(p, ',')) {
            int scale = 100;
            if (!isdigit((unsigned char)**p))
                return false;
            for (; isdigit((unsigned char)**p); (*p)++, scale /= 10)
                civil->millisecond += (**p - '0') * scale;
        }
    }
    if (civil->second == 60) /* a leap second is the last moment of its minute */
        civil->second = 59, civil->millisecond = 999;
    return civil->hour < 24 && civil->minute < 60 && civil->second < 60;
}

/* offset_ms is set when the text names one. */
static bool parse_offset(const char **p, bool *given, int64_t *offset_ms)
{
    int hours = 0, minutes = 0;
    *given = true;
    *offset_ms = 0;
    if (accept(p, 'Z') || accept(p, 'z'))
        return true;
    char sign = **p;
    if (sign != '+' && sign != '-') {
        *given = false;
        return true;
    }
    (*p)++;
    if (!digits(p, 2, &hours) || hours > 14)
        return false;
    accept(p, ':');
    if (isdigit((unsigned char)**p) && (!digits(p, 2, &minutes) || minutes > 59))
        return false;
    *offset_ms = (hours * 60 + minutes) * (sign == '-' ? -60000LL : 60000LL);
    return true;
}

enum md_status md_timestamp_parse(const char *text, const struct md_timezone *zone, int64_t *utc_ms,
                                  struct md_error *err)
{
    struct md_civil civil = {0};
    const char *p = text;
    bool offset_given = false;
    int64_t offset_ms = 0;
    bool good = parse_date(&p, &civil);
    if (good && *p) {
        good = accept(&p, 'T') || accept(&p, 't') || accept(&p, ' ');
        good = good && parse_clock(&p, &civil) && parse_offset(&p, &offset_given, &offset_ms);
    }
    if (!good || *p)
        return md_fail(err, MD_ERR_INVALID, "'%.40s' is not an ISO 8601 time", text);
    int64_t local_ms = md_civil_to_ms(&civil);
    *utc_ms = offset_given ? local_ms - offset_ms : md_timezone_to_utc_ms(zone, local_ms);
    return MD_OK;
}

void md_timestamp_format(int64_t utc_ms, char text[MD_TIMESTAMP_BYTES])
{
    const int64_t year_zero_ms = -62167219200000, year_last_ms = 253402300799999;
    struct md_civil civil;
    if (utc_ms < year_zero_ms)
        utc_ms = year_zero_ms;
    if (utc_ms > year_last_ms)
        utc_ms = year_last_ms;
    md_civil_from_ms(utc_ms, &civil);
    int used = snprintf(text, MD_TIMESTAMP_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d",
                        civil.year % 10000, civil.month % 100, civil.day % 100, civil.hour % 100,
                        civil.minute % 100, civil.second % 100);
    if (civil.millisecond)
        used += snprintf(text + used, MD_TIMESTAMP_BYTES - (size_t)used, ".%03d",
                         civil.millisecond % 1000);
    snprintf(text + used, MD_TIMESTAMP_BYTES - (size_t)used, "Z");
}
