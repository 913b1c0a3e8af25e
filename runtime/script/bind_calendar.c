/*
 * md.calendar: calendar features of a run of steps, in local time, as a tensor.
 *
 *   md.calendar { start_ms =, step_s =, count =, fields = { "hour", "day_of_week" }, timezone =
 * "UTC" } -> [count, fields]
 */
#include <math.h>
#include <string.h>

#include "base/timezone.h"
#include "script/config.h"
#include "script/tensor_object.h"

#define FIELDS_MAX 16

typedef float (*field_body)(const struct md_civil *local);

static float hour(const struct md_civil *local)
{
    return (float)local->hour;
}
static float minute(const struct md_civil *local)
{
    return (float)local->minute;
}
static float day(const struct md_civil *local)
{
    return (float)local->day;
}
static float month(const struct md_civil *local)
{
    return (float)local->month;
}
static float day_of_week(const struct md_civil *local)
{
    return (float)local->weekday;
}
static float is_weekend(const struct md_civil *local)
{
    return local->weekday >= 5 ? 1.0f : 0.0f;
}

static const struct {
    const char *name;
    field_body body;
} fields[] = {
    {"hour", hour},
    {"minute", minute},
    {"day", day}, /* of the month, from 1 */
    {"month", month},
    /* 1 to 12 */ {"day_of_week", day_of_week}, /* Monday is 0 */
    {"is_weekend", is_weekend},
};

static field_body find_field(lua_State *L, const char *name)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (name && strcmp(fields[i].name, name) == 0)
            return fields[i].body;
    luaL_error(L, "fields: unknown calendar field '%s'", name ? name : "?");
    return NULL;
}

static int fields_check(lua_State *L, field_body *bodies)
{
    lua_getfield(L, 1, "fields");
    luaL_checktype(L, -1, LUA_TTABLE);
    int count = (int)lua_objlen(L, -1);
    if (count > FIELDS_MAX)
        luaL_error(L, "fields: at most %d", FIELDS_MAX);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        bodies[i] = find_field(L, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return count;
}

static void fill(float *out, const struct md_timezone *zone, int64_t start_ms, int64_t step_ms,
                 int64_t count, const field_body *bodies, int field_count)
{
    for (int64_t i = 0; i < count; i++) {
        struct md_civil local;
        int64_t utc_ms = start_ms + i * step_ms;
        md_civil_from_ms(utc_ms + md_timezone_offset_s(zone, utc_ms) * 1000LL, &local);
        for (int f = 0; f < field_count; f++)
            *out++ = bodies[f](&local);
    }
}

static int calendar(lua_State *L)
{
    field_body bodies[FIELDS_MAX];
    struct md_timezone *zone;
    struct md_error err;
    luaL_checktype(L, 1, LUA_TTABLE);
    int64_t start_ms = md__field_ms(L, 1, "start_ms", NAN);
    int64_t step_ms = md__field_step_ms(L, 1, "step_s");
    int64_t count = md__field_int(L, 1, "count", INT64_MIN, 0, 10000000);
    const char *name = md__field_string(L, 1, "timezone", "UTC");
    int field_count = fields_check(L, bodies);
    struct md_shape shape = {2, {count, field_count}};
    struct md_tensor *out = md__tensor_make(L, MD_F32, &shape);
    md__tensor_check_status(L, md_timezone_new(name, &zone, &err), &err);
    fill(out->data, zone, start_ms, step_ms, count, bodies, field_count);
    md_timezone_delete(zone);
    return 1;
}

static void bind(lua_State *L, struct md_script *script)
{
    (void)script;
    lua_pushcfunction(L, calendar);
    lua_setfield(L, -2, "calendar");
}

const struct md__binding md__binding_calendar = {.name = "calendar", .bind = bind};
