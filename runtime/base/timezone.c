/*
 * TZif reader. Only what an offset look-up needs is kept: the transition moments with the offset
 * after each, and the POSIX rule at the end of the file for times past the last transition
 * ("CET-1CEST,M3.5.0,M10.5.0/3").
 *
 * Zone files are trusted no more than any other input: every count is checked against the file's
 * size.
 */
#include "base/timezone.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define TRANSITIONS_MAX 4096
#define FILE_BYTES_MAX  (256 * 1024)
#define HEADER_BYTES    44

/*
 * "The `week`-th `weekday` (0 = Sunday) of `month`, at time_s past midnight"; week 5 means the last
 * one.
 */
struct rule_date {
    int month, week, weekday;
    int time_s;
};

struct md_timezone {
    int count;
    int64_t *at_s;
    int *offset_s;  /* after at_s[i] */
    int first_s;    /* before the first transition */
    int standard_s; /* of the rule for times past the last transition */
    int summer_s;
    bool has_rule, has_summer;
    struct rule_date summer_begin, summer_end;
};

static uint32_t read_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t read_i64(const unsigned char *p)
{
    return (int64_t)((uint64_t)read_u32(p) << 32 | read_u32(p + 4));
}

struct counts {
    uint32_t utc, standard, leap, times, types, chars;
};

static bool read_header(const unsigned char *p, size_t left, struct counts *n)
{
    if (left < HEADER_BYTES || memcmp(p, "TZif", 4) != 0)
        return false;
    n->utc = read_u32(p + 20);
    n->standard = read_u32(p + 24);
    n->leap = read_u32(p + 28);
    n->times = read_u32(p + 32);
    n->types = read_u32(p + 36);
    n->chars = read_u32(p + 40);
    return n->times <= TRANSITIONS_MAX && n->types >= 1 && n->types <= 256 && n->chars <= 4096 &&
           n->leap <= 4096 && n->utc <= 256 && n->standard <= 256;
}

static size_t block_bytes(const struct counts *n, size_t time_bytes)
{
    return n->times * (time_bytes + 1) + n->types * 6 + n->chars + n->leap * (time_bytes + 4) +
           n->standard + n->utc;
}

/* ---- the POSIX rule ------------------------------------------------------------------------ */

static const char *skip_name(const char *p)
{
    if (*p == '<') {
        p = strchr(p, '>');
        return p ? p + 1 : NULL;
    }
    const char *begin = p;
    while (isalpha((unsigned char)*p))
        p++;
    return p - begin >= 3 ? p : NULL;
}

/* [+-]h[h][:mm[:ss]] in seconds. */
static const char *read_time(const char *p, int *seconds)
{
    int sign = 1, part[3] = {0, 0, 0};
    if (*p == '+' || *p == '-')
        sign = *p++ == '-' ? -1 : 1;
    for (int i = 0; i < 3; i++) {
        int digits = 0;
        while (isdigit((unsigned char)*p) && digits++ < 3)
            part[i] = part[i] * 10 + (*p++ - '0');
        if (digits == 0)
            return NULL;
        if (*p != ':')
            break;
        p++;
    }
    *seconds = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
    return p;
}

static const char *read_date(const char *p, struct rule_date *date)
{
    int used = 0;
    if (sscanf(p, "M%d.%d.%d%n", &date->month, &date->week, &date->weekday, &used) != 3)
        return NULL;
    if (date->month < 1 || date->month > 12 || date->week < 1 || date->week > 5 ||
        date->weekday < 0 || date->weekday > 6)
        return NULL;
    p += used;
    date->time_s = 2 * 3600;
    return *p == '/' ? read_time(p + 1, &date->time_s) : p;
}

/*
 * False when the rule is of a form that no current zone uses (Julian days): the last transition's
 * offset then holds.
 */
static bool read_rule(struct md_timezone *zone, const char *p)
{
    int west_s;
    if (!(p = skip_name(p)) || !(p = read_time(p, &west_s)))
        return false;
    zone->standard_s = -west_s;
    if (*p == '\0')
        return true;
    if (!(p = skip_name(p)))
        return false;
    zone->summer_s = zone->standard_s + 3600;
    if (*p != ',' && *p != '\0') {
        if (!(p = read_time(p, &west_s)))
            return false;
        zone->summer_s = -west_s;
    }
    if (*p != ',' || !(p = read_date(p + 1, &zone->summer_begin)) || *p != ',')
        return false;
    zone->has_summer = read_date(p + 1, &zone->summer_end) != NULL;
    return zone->has_summer;
}

/* Local seconds since 1970 of the rule's date in that year. */
static int64_t rule_moment_s(const struct rule_date *date, int year)
{
    struct md_civil civil = {.year = year, .month = date->month, .day = 1};
    int64_t first_ms = md_civil_to_ms(&civil);
    md_civil_from_ms(first_ms, &civil);
    int first_weekday = (civil.weekday + 1) % 7; /* 0 = Sunday */
    int day = 1 + (date->weekday - first_weekday + 7) % 7 + (date->week - 1) * 7;
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int days = month_days[date->month - 1] + (date->month == 2 && leap);
    while (day > days)
        day -= 7;
    return first_ms / 1000 + (int64_t)(day - 1) * 86400 + date->time_s;
}

static int rule_offset_s(const struct md_timezone *zone, int64_t utc_s)
{
    if (!zone->has_summer)
        return zone->standard_s;
    struct md_civil civil;
    md_civil_from_ms((utc_s + zone->standard_s) * 1000, &civil);
    int64_t begin = rule_moment_s(&zone->summer_begin, civil.year) - zone->standard_s;
    int64_t end = rule_moment_s(&zone->summer_end, civil.year) - zone->summer_s;
    bool summer = begin < end ? utc_s >= begin && utc_s < end : utc_s >= begin || utc_s < end;
    return summer ? zone->summer_s : zone->standard_s;
}

/* ---- loading ------------------------------------------------------------------------------- */

static bool read_transitions(struct md_timezone *zone, const unsigned char *p,
                             const struct counts *n)
{
    const unsigned char *types = p + n->times * 9;
    zone->count = (int)n->times;
    zone->at_s = calloc(n->times + 1, sizeof *zone->at_s);
    zone->offset_s = calloc(n->times + 1, sizeof *zone->offset_s);
    if (!zone->at_s || !zone->offset_s)
        return false;
    zone->first_s = (int32_t)read_u32(types);
    for (uint32_t i = 0; i < n->times; i++) {
        unsigned type = p[n->times * 8 + i];
        if (type >= n->types)
            return false;
        zone->at_s[i] = read_i64(p + i * 8);
        zone->offset_s[i] = (int32_t)read_u32(types + type * 6);
        if (i && zone->at_s[i] <= zone->at_s[i - 1])
            return false;
    }
    return true;
}

static bool parse_file(struct md_timezone *zone, const unsigned char *p, size_t length)
{
    struct counts n;
    if (!read_header(p, length, &n) || p[4] < '2')
        return false;
    size_t skip = HEADER_BYTES + block_bytes(&n, 4);
    if (skip > length || !read_header(p + skip, length - skip, &n))
        return false;
    size_t body = skip + HEADER_BYTES, end = body + block_bytes(&n, 8);
    if (end > length || !read_transitions(zone, p + body, &n))
        return false;
    char rule[128];
    size_t used = 0;
    for (size_t i = end + 1; i < length && p[i] != '\n' && used < sizeof rule - 1; i++)
        rule[used++] = (char)p[i];
    rule[used] = '\0';
    zone->has_rule = used > 0 && read_rule(zone, rule);
    return true;
}

static enum md_status load_file(struct md_timezone *zone, const char *name, struct md_error *err)
{
    enum md_status status = MD_OK;
    unsigned char *bytes = NULL;
    char path[256];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        status = md_fail(err, MD_ERR_INVALID, "unknown time zone '%s'", name);
        goto out;
    }
    bytes = malloc(FILE_BYTES_MAX);
    if (!bytes) {
        status = md_fail(err, MD_ERR_MEMORY, "no memory for time zone '%s'", name);
        goto out;
    }
    size_t length = fread(bytes, 1, FILE_BYTES_MAX, file);
    if (!parse_file(zone, bytes, length))
        status = md_fail(err, MD_ERR_CORRUPT, "%s is not a valid zone file", path);
out:
    free(bytes);
    if (file)
        fclose(file);
    return status;
}

/* "+02:00", "-0530", "+2". */
static bool parse_fixed(const char *name, int *offset_s)
{
    int hours = 0, minutes = 0, used = 0;
    if (name[0] != '+' && name[0] != '-')
        return false;
    if ((sscanf(name + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || name[1 + used]) &&
        (sscanf(name + 1, "%2d%2d%n", &hours, &minutes, &used) != 2 || name[1 + used])) {
        minutes = 0;
        if (sscanf(name + 1, "%2d%n", &hours, &used) != 1 || name[1 + used])
            return false;
    }
    if (hours < 0 || hours > 14 || minutes < 0 || minutes > 59)
        return false;
    *offset_s = (hours * 60 + minutes) * (name[0] == '-' ? -60 : 60);
    return true;
}

static bool legal_name(const char *name)
{
    if (!*name || strlen(name) > 100 || name[0] == '/' || strstr(name, ".."))
        return false;
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_-+/", *p))
            return false;
    return true;
}

enum md_status md_timezone_new(const char *name, struct md_timezone **zone, struct md_error *err)
{
    *zone = NULL;
    if (!legal_name(name) && !parse_fixed(name, &(int){0}))
        return md_fail(err, MD_ERR_INVALID, "'%.64s' is not a time zone name", name);
    struct md_timezone *made = calloc(1, sizeof *made);
    if (!made)
        return md_fail(err, MD_ERR_MEMORY, "no memory for time zone '%s'", name);
    enum md_status status = MD_OK;
    if (strcmp(name, "UTC") != 0 && strcmp(name, "Z") != 0 && !parse_fixed(name, &made->first_s))
        status = load_file(made, name, err);
    if (status != MD_OK) {
        md_timezone_delete(made);
        return status;
    }
    *zone = made;
    return MD_OK;
}

void md_timezone_delete(struct md_timezone *zone)
{
    if (!zone)
        return;
    free(zone->at_s);
    free(zone->offset_s);
    free(zone);
}

/* ---- look-ups ------------------------------------------------------------------------------ */

int md_timezone_offset_s(const struct md_timezone *zone, int64_t utc_ms)
{
    if (!zone)
        return 0;
    int64_t utc_s = utc_ms >= 0 ? utc_ms / 1000 : -((-utc_ms + 999) / 1000);
    if (zone->has_rule && (zone->count == 0 || utc_s >= zone->at_s[zone->count - 1]))
        return rule_offset_s(zone, utc_s);
    int low = 0, high = zone->count; /* the first transition after utc_s */
    while (low < high) {
        int middle = (low + high) / 2;
        if (zone->at_s[middle] <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? zone->first_s : zone->offset_s[low - 1];
}

int64_t md_timezone_to_utc_ms(const struct md_timezone *zone, int64_t local_ms)
{
    /*
     * The offsets a day before and after bracket any change of clocks; try the earlier moment
     * first.
     */
    const int64_t day_ms = 86400000;
    int64_t before_ms = md_timezone_offset_s(zone, local_ms - day_ms) * 1000LL;
    int64_t after_ms = md_timezone_offset_s(zone, local_ms + day_ms) * 1000LL;
    int64_t with_before = local_ms - before_ms, with_after = local_ms - after_ms;
    if (md_timezone_offset_s(zone, with_before) * 1000LL == before_ms)
        return with_before;
    if (md_timezone_offset_s(zone, with_after) * 1000LL == after_ms)
        return with_after;
    return with_before;
}
