/*
 * From app.alerts, as lua/moondial/alerts.lua has checked and completed it, to compiled rules.
 *
 * Texts are borrowed from Lua while the rules are compiled, which copies them; what the generation
 * keeps besides is in its arena.
 */
#include <math.h>
#include <string.h>

#include "script/alerts.h"

enum { LIST_MAX = 10000 };

static void *keep_array(lua_State *L, struct md_generation *generation, size_t count, size_t size)
{
    void *array = md_arena_array(&generation->arena, count > 0 ? count : 1, size);
    if (array == NULL)
        luaL_error(L, "no memory for the alert rules");
    return array;
}

static const char *keep(lua_State *L, struct md_generation *generation, const char *text)
{
    const char *copy = md_arena_strdup(&generation->arena, text);
    if (copy == NULL)
        luaL_error(L, "no memory for the alert rules");
    return copy;
}

/* Pushes field `name`, a list, and returns its length; an empty one where there is none. */
static int push_list(lua_State *L, const char *name)
{
    if (!md__field_table(L, -1, name))
        lua_newtable(L);
    int count = (int)lua_objlen(L, -1);
    if (count > LIST_MAX)
        luaL_error(L, "app.lua: alerts: more than %d %s", LIST_MAX, name);
    return count;
}

/* ---- parts of a rule, which is on top of the stack ------------------------------------------- */

static const char *const *read_texts(lua_State *L, struct md_generation *generation,
                                     const char *name, int *count)
{
    *count = push_list(L, name);
    const char **texts = keep_array(L, generation, (size_t)*count, sizeof *texts);
    for (int i = 0; i < *count; i++) {
        lua_rawgeti(L, -1, i + 1);
        texts[i] = keep(L, generation, luaL_checkstring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return texts;
}

static const struct md_alert_label *read_pairs(lua_State *L, struct md_generation *generation,
                                               const char *name, int *count)
{
    *count = push_list(L, name);
    struct md_alert_label *pairs = keep_array(L, generation, (size_t)*count, sizeof *pairs);
    for (int i = 0; i < *count; i++) {
        lua_rawgeti(L, -1, i + 1);
        pairs[i].name = keep(L, generation, md__field_string(L, -1, "name", NULL));
        pairs[i].value = keep(L, generation, md__field_string(L, -1, "value", NULL));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return pairs;
}

static float number_or_nan(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    float number = lua_isnumber(L, -1) ? (float)lua_tonumber(L, -1) : NAN;
    lua_pop(L, 1);
    return number;
}

static struct md_alert_limit read_limit(lua_State *L, struct md_generation *generation,
                                        const char *name)
{
    struct md_alert_limit limit = {.fallback = NAN};
    if (!md__field_table(L, -1, name))
        return limit;
    limit.fallback = number_or_nan(L, "fallback");
    limit.profiles = read_texts(L, generation, "profiles", &limit.profile_count);
    push_list(L, "values");
    float *values = keep_array(L, generation, (size_t)limit.profile_count, sizeof *values);
    for (int i = 0; i < limit.profile_count; i++) {
        lua_rawgeti(L, -1, i + 1);
        values[i] = (float)luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    limit.values = values;
    return limit;
}

static enum md_alert_watch read_watch(lua_State *L)
{
    static const char *const names[] = {[MD_ALERT_CURRENT] = "current",
                                        [MD_ALERT_FORECAST] = "forecast",
                                        [MD_ALERT_ABSENT] = "absent",
                                        [MD_ALERT_GAUGE] = "gauge",
                                        [MD_ALERT_FUNCTION] = "function"};
    const char *kind = md__field_string(L, -1, "kind", NULL);
    int found = MD_ALERT_FUNCTION;
    for (int i = 0; i <= MD_ALERT_FUNCTION; i++)
        found = strcmp(kind, names[i]) == 0 ? i : found;
    return (enum md_alert_watch)found;
}

static enum md_alert_no_data read_policy(lua_State *L, const char *name)
{
    const char *policy = md__field_string(L, -1, name, NULL);
    return strcmp(policy, "keep") == 0   ? MD_ALERT_NO_DATA_KEEP
           : strcmp(policy, "fire") == 0 ? MD_ALERT_NO_DATA_FIRE
                                         : MD_ALERT_NO_DATA_RESOLVE;
}

static void read_rule(lua_State *L, struct md_generation *generation, struct md_alert_rule *rule)
{
    rule->name = keep(L, generation, md__field_string(L, -1, "name", NULL));
    rule->severity = keep(L, generation, md__field_string(L, -1, "severity", ""));
    rule->watch = read_watch(L);
    rule->columns = read_texts(L, generation, "columns", &rule->column_count);
    rule->quantile = number_or_nan(L, "quantile");
    rule->within_ms = md__field_ms(L, -1, "within_ms", 0);
    rule->gauge = keep(L, generation, md__field_string(L, -1, "gauge", ""));
    rule->function = (int)md__field_int(L, -1, "number", 0, 0, LIST_MAX);
    rule->is_below = md__field_bool(L, -1, "is_below", false);
    rule->limit = read_limit(L, generation, "above_or_below");
    rule->clear = read_limit(L, generation, "clear");
    rule->for_ms = md__field_ms(L, -1, "for_ms", 0);
    rule->keep_firing_ms = md__field_ms(L, -1, "keep_firing_ms", 0);
    rule->instances_max = (int)md__field_int(L, -1, "instances_max", 0, 0, 10000000);
    rule->no_data = read_policy(L, "no_data");
    rule->on_error = read_policy(L, "on_error");
    rule->labels = read_pairs(L, generation, "labels", &rule->label_count);
    rule->annotations = read_pairs(L, generation, "annotations", &rule->annotation_count);
}

/* ---- the rest of app.alerts, which is on top of the stack ------------------------------------ */

static void read_rules(lua_State *L, struct md_generation *generation, struct md__alerts *alerts)
{
    struct md_error err;
    int count = push_list(L, "rules");
    if (count > MD_ALERT_RULES_MAX)
        luaL_error(L, "app.lua: alerts: more than %d rules", MD_ALERT_RULES_MAX);
    struct md_alert_rule *rules = keep_array(L, generation, (size_t)count, sizeof *rules);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        read_rule(L, generation, &rules[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (md_alert_rules_new(rules, count, &alerts->rules, &err) != MD_OK) {
        lua_getfield(L, -1, "place"); /* alerts.lua: file and line */
        lua_pushstring(L, err.text);
        lua_call(L, 1, 1);
        lua_error(L);
    }
}

static void read_gauge(lua_State *L, struct md_generation *generation, struct md__gauge *gauge)
{
    gauge->text = keep(L, generation, md__field_string(L, -1, "gauge", NULL));
    gauge->name = keep(L, generation, md__field_string(L, -1, "name", NULL));
    gauge->quantile = number_or_nan(L, "quantile");
    const struct md_alert_label *pairs = read_pairs(L, generation, "labels", &gauge->label_count);
    size_t count = (size_t)gauge->label_count;
    const char **labels = keep_array(L, generation, count, sizeof *labels);
    const char **values = keep_array(L, generation, count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        labels[i] = pairs[i].name;
        values[i] = pairs[i].value;
    }
    gauge->labels = labels;
    gauge->values = values;
}

/* Rules may watch the same number. */
static void read_gauges(lua_State *L, struct md_generation *generation, struct md__alerts *alerts)
{
    int count = push_list(L, "gauges");
    alerts->gauges = keep_array(L, generation, (size_t)count, sizeof *alerts->gauges);
    for (int i = 0; i < count; i++) {
        struct md__gauge *gauge = &alerts->gauges[alerts->gauge_count];
        lua_rawgeti(L, -1, i + 1);
        read_gauge(L, generation, gauge);
        lua_pop(L, 1);
        int k = 0;
        while (strcmp(alerts->gauges[k].text, gauge->text) != 0)
            k++;
        alerts->gauge_count += k == alerts->gauge_count;
    }
    lua_pop(L, 1);
}

static void read_keep(lua_State *L, struct md__alerts *alerts)
{
    if (!md__field_table(L, -1, "keep"))
        return;
    alerts->keep_within_ms = md__field_ms(L, -1, "within_ms", 0);
    int count = push_list(L, "quantiles");
    if (count > MD__ALERT_QUANTILES_MAX)
        luaL_error(L, "app.lua: alerts.keep: more than %d quantiles", MD__ALERT_QUANTILES_MAX);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        alerts->keep_quantiles[i] = (float)luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    alerts->keep_quantile_count = count;
    lua_pop(L, 2);
}

void md__alerts_read(lua_State *L, struct md_generation *generation)
{
    int top = lua_gettop(L);
    if (!md__field_table(L, -1, "alerts"))
        return;
    struct md__alerts *alerts = keep_array(L, generation, 1, sizeof *alerts);
    memset(alerts, 0, sizeof *alerts);
    generation->alerts = alerts;
    alerts->series = keep(L, generation, md__field_string(L, -1, "series", NULL));
    alerts->entity = keep(L, generation, md__field_string(L, -1, "entity", NULL));
    alerts->function_count = push_list(L, "functions");
    lua_pop(L, 1);
    read_gauges(L, generation, alerts);
    read_keep(L, alerts);
    read_rules(L, generation, alerts);
    lua_settop(L, top);
}

void md__alerts_release(struct md_generation *generation)
{
    if (generation->alerts == NULL)
        return;
    md_alert_rules_unref(generation->alerts->rules);
    generation->alerts->rules = NULL;
}
