/*
 * md.alerts: what the rules of alerts.lua have come to. Rules themselves are data of the app
 * (alert_rules.c); they are evaluated by the scheduler's tick (alert_tick.c).
 *
 * The engine is made when the first generation that declares alerts is about to serve, and lives as
 * long as the script engine: instances cross every change of scripts.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/alerts.h"
#include "script/notify.h"

static const size_t json_bytes_max = (size_t)64 << 20;

/* Raises when there are none. A session of the REPL sees those of the daemon. */
static void check_declared(lua_State *L)
{
    const struct md__state *state = md__state(L);
    const struct md_generation *generation = state->generation;
    bool declared = generation != NULL && generation->alerts != NULL;
    if (!declared && (state->kind != MD__STATE_REPL || atomic_load(&state->script->alerts) == NULL))
        luaL_error(L, "md.alerts: app.lua declares no alerts");
}

/* A reference. */
static struct md_alert_rules *rules_of(const struct md__state *state)
{
    const struct md_generation *generation = state->generation;
    if (generation->alerts != NULL)
        return md_alert_rules_ref(generation->alerts->rules);
    return md_alert_live_rules(atomic_load(&state->script->alerts));
}

/* Pushes what the text says. */
static int push_json(lua_State *L, const struct md_buffer *json)
{
    struct md_error err;
    enum md_status status = md_buffer_check(json, &err);
    if (status == MD_OK)
        status = md__json_read(L, json->data, json->length, &err);
    if (status != MD_OK)
        return md__return_error(L, &err);
    return 1;
}

/* ---- md.alerts.active ------------------------------------------------------------------------ */

struct listing {
    struct md_buffer *json;
    const char *state; /* "all", or the only one */
    const char *rule, *key;
    int64_t now_ms;
    int count;
};

/* Under the engine's lock: nothing here raises. */
static bool list(void *context, const struct md_alert *alert)
{
    struct listing *listing = context;
    const char *state = md__alert_state_name(alert);
    bool shown = strcmp(listing->state, "all") == 0 || strcmp(listing->state, state) == 0;
    if (listing->state[0] == '\0')
        shown = alert->state != MD_ALERT_INACTIVE;
    if (listing->rule[0] != '\0')
        shown = shown && strcmp(listing->rule, alert->name) == 0;
    if (listing->key[0] != '\0')
        shown = shown && strcmp(listing->key, alert->key) == 0;
    if (!shown)
        return true;
    md_buffer_text(listing->json, listing->count++ > 0 ? "," : "[");
    md__alert_json(alert, listing->now_ms, listing->json);
    return listing->json->failed == MD_OK;
}

static void check_state(lua_State *L, const char *state)
{
    static const char *const states[] = {"", "all", "firing", "pending", "resolved"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (strcmp(state, states[i]) == 0)
            return;
    }
    luaL_error(L, "state: \"%s\" is not firing, pending, resolved or all", state);
}

/* Each entry, in the list on top of the stack, names its entity by the label of that, and says what
 * suppresses it. */
static void name_entities(lua_State *L, const char *entity)
{
    int count = (int)lua_objlen(L, -1);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        lua_getfield(L, -1, "key");
        lua_setfield(L, -2, entity);
        md__notify_explain(L);
        lua_pop(L, 1);
    }
}

/* The one argument is a table, empty when there is none; the function acts on declared alerts. */
static void take_options(lua_State *L, const char *function)
{
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    md__check_acting(L, function);
    check_declared(L);
}

/* md.alerts.active { state = "firing", rule =, key = }: pending and firing ones by default */
static int alerts_active(lua_State *L)
{
    struct md_script *script = md__state(L)->script;
    take_options(L, "md.alerts.active");
    struct listing listing = {.state = md__field_string(L, 1, "state", ""),
                              .rule = md__field_string(L, 1, "rule", ""),
                              .key = md__field_string(L, 1, "key", ""),
                              .now_ms = md_now_ms(script->clock)};
    check_state(L, listing.state);
    listing.json = md__scratch(L, json_bytes_max);
    struct md_alert_live *live = atomic_load(&script->alerts);
    if (live != NULL)
        md_alert_live_visit(live, list, &listing);
    md_buffer_text(listing.json, listing.count > 0 ? "]" : "[]");
    int results = push_json(L, listing.json);
    if (results == 1)
        name_entities(L, script->alerting->entity);
    return results;
}

/* ---- rules, qualities, times ----------------------------------------------------------------- */

static int push_shown(lua_State *L, const char *name,
                      void (*show)(struct md_alert_live *, const struct md_alert_rules *,
                                   struct md_buffer *))
{
    md__check_acting(L, name);
    check_declared(L);
    struct md_buffer *json = md__scratch(L, json_bytes_max);
    struct md_alert_rules *rules = rules_of(md__state(L));
    show(atomic_load(&md__state(L)->script->alerts), rules, json);
    md_alert_rules_unref(rules);
    return push_json(L, json);
}

static int alerts_rules(lua_State *L)
{
    return push_shown(L, "md.alerts.rules", md__alert_rules_json);
}

static int alerts_quality(lua_State *L)
{
    return push_shown(L, "md.alerts.quality", md__alert_quality_json);
}

/* When rules were evaluated last: the end of that step; 0: not yet. */
static int alerts_evaluated_ms(lua_State *L)
{
    struct md_alert_live *live = atomic_load(&md__state(L)->script->alerts);
    md__check_acting(L, "md.alerts.evaluated_ms");
    lua_pushnumber(L, live != NULL ? (double)md_alert_live_time_ms(live) : 0);
    return 1;
}

/* ---- md.alerts.history ----------------------------------------------------------------------- */

struct history_wait {
    struct md_wait base;
    int64_t since_ms, until_ms;
    int limit, count; /* the newest `limit` of them: a ring */
    char **events;
};

static enum md_status keep_event(void *context, int64_t time_ms, const char *text,
                                 struct md_error *err)
{
    struct history_wait *wait = context;
    (void)time_ms;
    char *copy = strdup(text);
    if (copy == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the history of alerts");
    char **slot = &wait->events[wait->count++ % wait->limit];
    free(*slot);
    *slot = copy;
    return MD_OK;
}

static enum md_status history_block(struct md_wait *wait, struct md_script *script,
                                    int64_t deadline_ns, struct md_error *err)
{
    struct history_wait *history = (struct history_wait *)wait;
    (void)deadline_ns;
    history->count = 0;
    if (script->store == NULL)
        return MD_OK;
    return md_alert_history_events(script->store, history->since_ms, history->until_ms, keep_event,
                                   history, err);
}

static int history_finish(lua_State *L, struct md_wait *wait)
{
    struct history_wait *history = (struct history_wait *)wait;
    struct md_buffer *json = md__scratch(L, json_bytes_max);
    int kept = history->count < history->limit ? history->count : history->limit;
    md_buffer_text(json, "[");
    for (int i = 0; i < kept; i++) {
        md_buffer_text(json, i > 0 ? "," : "");
        md_buffer_text(json, history->events[(history->count - kept + i) % history->limit]);
    }
    md_buffer_text(json, "]");
    return push_json(L, json);
}

static void history_drop(struct md_wait *wait)
{
    struct history_wait *history = (struct history_wait *)wait;
    for (int i = 0; history->events != NULL && i < history->limit; i++)
        free(history->events[i]);
    free(history->events);
    free(history);
}

/* md.alerts.history { since_ms =, until_ms =, limit = }: a day and 1000 by default, oldest first */
static int alerts_history(lua_State *L)
{
    struct md_script *script = md__state(L)->script;
    take_options(L, "md.alerts.history");
    int64_t now_ms = md_now_ms(script->clock);
    struct history_wait checked = {
        .base = {.block = history_block, .finish = history_finish, .drop = history_drop},
        .since_ms = md__field_ms(L, 1, "since_ms", (double)(now_ms - 86400000)),
        .until_ms = md__field_ms(L, 1, "until_ms", (double)(now_ms + 1)),
        .limit = (int)md__field_int(L, 1, "limit", 1000, 1, 100000)};
    struct history_wait *wait = malloc(sizeof *wait);
    if (wait == NULL)
        return luaL_error(L, "not enough memory");
    *wait = checked;
    wait->events = calloc((size_t)wait->limit, sizeof *wait->events);
    if (wait->events == NULL) {
        history_drop(&wait->base);
        return luaL_error(L, "not enough memory");
    }
    return md__yield(L, &wait->base);
}

/* ---- for the library ------------------------------------------------------------------------- */

/* What is wrong with an annotation's template; nothing: it is well. */
static int template_mistake(lua_State *L)
{
    struct md_error err;
    if (md_alert_template_check(luaL_checkstring(L, 1), &err) == MD_OK)
        return 0;
    lua_pushstring(L, err.text);
    return 1;
}

/* ---- the binding ----------------------------------------------------------------------------- */

/* A later generation's alerts must fit the engine that there is. */
static void declare(lua_State *L, struct md_script *script)
{
    struct md_generation *generation = md__state(L)->generation;
    const struct md__alerts *alerts = generation->alerts;
    bool is_first = atomic_load(&script->alerts) == NULL;
    if (alerts != NULL && !is_first && strcmp(alerts->entity, script->alerting->entity) != 0)
        luaL_error(L, "app.lua: alerts: 'entity' cannot change while the daemon runs: restart it");
    script->alerting->wanted = alerts; /* the generation outlives its settling */
}

static enum md_status make_live(struct md_script *script, const struct md__alerts *alerts,
                                struct md_error *err)
{
    struct md_alert_live_options options = {.entity_label = alerts->entity,
                                            .store = script->store,
                                            .keep_within_ms = alerts->keep_within_ms,
                                            .keep_quantiles = alerts->keep_quantiles,
                                            .keep_quantile_count = alerts->keep_quantile_count};
    struct md_alert_live *live = NULL;
    snprintf(script->alerting->entity, sizeof script->alerting->entity, "%s", alerts->entity);
    enum md_status status = md_alert_live_new(&options, &live, err);
    if (status != MD_OK)
        return status;
    md_alert_live_set_rules(live, alerts->rules);
    atomic_store(&script->alerts, live);
    md__alerts_expose(script);
    return MD_OK;
}

static void clear_degraded(struct md_script *script)
{
    static const char *const subjects[] = {"alerts", "alert forecasts", "alert rules",
                                           "alert history"};
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
        md__degraded_set(script, subjects[i], NULL);
}

static enum md_status settle(struct md_script *script, bool accepted, struct md_error *err)
{
    const struct md__alerts *wanted = script->alerting->wanted;
    struct md_alert_live *live = atomic_load(&script->alerts);
    script->alerting->wanted = NULL;
    if (!accepted)
        return MD_OK;
    if (wanted != NULL && live == NULL)
        return make_live(script, wanted, err);
    if (wanted == NULL && live != NULL)
        clear_degraded(script);
    return MD_OK;
}

static enum md_status start(struct md_script *script, struct md_error *err)
{
    script->alerting = calloc(1, sizeof *script->alerting);
    return script->alerting != NULL ? MD_OK : md_fail(err, MD_ERR_MEMORY, "no memory for alerts");
}

static void fini(struct md_script *script)
{
    if (script->alerting == NULL)
        return;
    md__alerts_unexpose(script);
    md_alert_live_delete(atomic_load(&script->alerts));
    atomic_store(&script->alerts, NULL);
    md__gauge_memory_delete(script->alerting->gauges);
    free(script->alerting);
    script->alerting = NULL;
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {{"active", alerts_active},
                                         {"rules", alerts_rules},
                                         {"quality", alerts_quality},
                                         {"history", alerts_history},
                                         {"evaluated_ms", alerts_evaluated_ms},
                                         {NULL, NULL}};
    static const luaL_Reg library[] = {{"alert_template_mistake", template_mistake},
                                       {"alert_wants", md__alert_wants},
                                       {"alert_frame", md__alert_frame},
                                       {"alert_trouble", md__alert_trouble},
                                       {"alert_tick", md__alert_tick},
                                       {NULL, NULL}};
    (void)script;
    md__class_new(L, &md__alert_frame_class);
    md__bind_table(L, "alerts", functions);
    luaL_register(L, NULL, library);
}

const struct md__binding md__binding_alerts = {.name = "alerts",
                                               .bind = bind,
                                               .declare = declare,
                                               .settle = settle,
                                               .start = start,
                                               .fini = fini};
