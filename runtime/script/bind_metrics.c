/*
 * md.metrics: counters, gauges and histograms of the script's own, rendered with the daemon's.
 * Declared at the top of a file, they are the same objects in every state.
 */
#include "base/metrics.h"
#include "script/internal.h"

struct metric {
    struct md_family *family;
    enum md_metric_type type;
    int labels;
};

static const struct md__class metric_class;

/* The series for the label values from argument `first` on. */
static struct md_metric *series(lua_State *L, const struct metric *metric, int first)
{
    const char *values[MD_METRIC_LABELS_MAX];
    if (lua_gettop(L) - first + 1 != metric->labels)
        luaL_error(L, "this metric has %d labels, got %d values", metric->labels,
                   lua_gettop(L) - first + 1);
    for (int i = 0; i < metric->labels; i++)
        values[i] = luaL_checkstring(L, first + i);
    if (md__is_private(L))
        return NULL; /* what is only tried must not count */
    return md_metric_get(metric->family, values);
}

static void check(lua_State *L, bool legal_type, const char *method)
{
    if (!legal_type)
        luaL_error(L, "metrics of this type have no '%s'", method);
    md__check_acting(L, method);
}

static int metric_add(lua_State *L)
{
    struct metric *metric = md__object_check(L, 1, &metric_class);
    check(L, metric->type != MD_HISTOGRAM, "add");
    lua_Number amount = luaL_optnumber(L, 2, 1);
    luaL_argcheck(L, metric->type == MD_GAUGE || amount >= 0, 2, "a counter only grows");
    md_metric_add(series(L, metric, 3), amount);
    return 0;
}

static int metric_set(lua_State *L)
{
    struct metric *metric = md__object_check(L, 1, &metric_class);
    check(L, metric->type == MD_GAUGE, "set");
    md_metric_set(series(L, metric, 3), luaL_checknumber(L, 2));
    return 0;
}

static int metric_observe(lua_State *L)
{
    struct metric *metric = md__object_check(L, 1, &metric_class);
    check(L, metric->type == MD_HISTOGRAM, "observe");
    md_metric_observe(series(L, metric, 3), luaL_checknumber(L, 2));
    return 0;
}

static const luaL_Reg methods[] = {
    {"add", metric_add}, {"set", metric_set}, {"observe", metric_observe}, {NULL, NULL}};

static const struct md__class metric_class = {.name = "metric", .methods = methods};

/* (name, help [, labels]) */
static int declare(lua_State *L, enum md_metric_type type)
{
    const char *labels[MD_METRIC_LABELS_MAX + 1] = {NULL};
    const char *name = luaL_checkstring(L, 1), *help = luaL_checkstring(L, 2);
    int count = 0;
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        count = (int)lua_objlen(L, 3);
        luaL_argcheck(L, count <= MD_METRIC_LABELS_MAX, 3, "at most 4 labels");
    }
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 3, i + 1);
        labels[i] = luaL_checkstring(L, -1); /* the table keeps it alive */
    }
    struct metric *metric = md__object_new(L, &metric_class, sizeof *metric);
    metric->type = type;
    metric->labels = count;
    metric->family =
        md_family_new(md_metrics_global(), type, name, help, count > 0 ? labels : NULL, NULL, 0);
    if (metric->family == NULL)
        return luaL_error(L, "metric '%s': not a legal name, or declared differently before", name);
    return 1;
}

static int counter(lua_State *L)
{
    return declare(L, MD_COUNTER);
}

static int gauge(lua_State *L)
{
    return declare(L, MD_GAUGE);
}

static int histogram(lua_State *L)
{
    return declare(L, MD_HISTOGRAM);
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {
        {"counter", counter}, {"gauge", gauge}, {"histogram", histogram}, {NULL, NULL}};
    (void)script;
    md__class_new(L, &metric_class);
    md__bind_table(L, "metrics", functions);
}

const struct md__binding md__binding_metrics = {.name = "metrics", .bind = bind};
