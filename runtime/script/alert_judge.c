/*
 * The functions of rules: each is called once an entity with a view of it,
 *
 *     server.name, server.profile, server.current.COLUMN, server:forecast(COLUMN, QUANTILE)
 *
 * and says whether the condition holds: true, a number (which holds, and is shown), or nothing. The
 * view is one table that shows one entity after the other; nothing is copied for columns that
 * nobody asks for. What is not there is nil, and a function that fails after it has been given a
 * nil has no data, which is a state of its own. Any other error is the whole rule's.
 *
 * A rule's functions have a time budget of their own within the task's: one that never ends costs
 * its rule, not the tick.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "script/alerts.h"

/* What a view looks at; in a userdata that its closures hold, and emptied when the call is over. */
struct look {
    const struct md_alert_frame *frame;
    int key;
    bool missed; /* something that was asked for is not there */
};

struct judging {
    const struct md_alert_frame *frame;
    int function;
    struct md_alert_verdict *verdicts;
};

/* ---- the view -------------------------------------------------------------------------------- */

static struct look *look_check(lua_State *L)
{
    struct look *look = lua_touserdata(L, lua_upvalueindex(1));
    if (look->frame == NULL)
        luaL_error(L, "a server that a rule was shown is of use only while the rule is called");
    return look;
}

/* A name that is not there would be nil for ever, and the rule silent. */
static int column_check(lua_State *L, const struct md_alert_frame *frame, const char *name)
{
    for (int c = 0; c < frame->column_count; c++) {
        if (strcmp(frame->columns[c], name) == 0)
            return c;
    }
    return luaL_error(L, "there is no column '%s'", name);
}

static int current_get(lua_State *L)
{
    struct look *look = look_check(L);
    const struct md_alert_frame *frame = look->frame;
    int column = column_check(L, frame, luaL_checkstring(L, 2));
    float value = frame->values[(size_t)look->key * (size_t)frame->column_count + (size_t)column];
    if (isnan(value)) {
        look->missed = true;
        return 0;
    }
    lua_pushnumber(L, value);
    return 1;
}

static int read_only(lua_State *L)
{
    return luaL_error(L, "what a rule is shown is read-only");
}

static const struct md_alert_channel *find_channel(const struct md_alert_frame *frame,
                                                   const char *column, float quantile)
{
    for (int i = 0; i < frame->channel_count; i++) {
        const struct md_alert_channel *channel = &frame->channels[i];
        if (fabsf(channel->quantile - quantile) < 1e-6f && strcmp(channel->column, column) == 0)
            return channel;
    }
    return NULL;
}

/* server:forecast("cpu_user_pct", 0.5) -> { number, ... } or nil */
static int forecast_get(lua_State *L)
{
    struct look *look = look_check(L);
    const char *column = luaL_checkstring(L, 2);
    const struct md_alert_channel *channel =
        find_channel(look->frame, column, (float)luaL_optnumber(L, 3, 0.5));
    const float *values =
        channel != NULL ? channel->values + (size_t)look->key * (size_t)channel->steps : NULL;
    column_check(L, look->frame, column);
    if (channel == NULL || channel->steps == 0 || isnan(values[0])) {
        look->missed = true;
        return 0;
    }
    lua_createtable(L, channel->steps, 0);
    for (int i = 0; i < channel->steps && !isnan(values[i]); i++) {
        lua_pushnumber(L, values[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static void push_closure(lua_State *L, int look, lua_CFunction function)
{
    lua_pushvalue(L, look);
    lua_pushcclosure(L, function, 1);
}

/* Pushes a table whose fields come from the closure. */
static void push_current(lua_State *L, int look)
{
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    push_closure(L, look, current_get);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, read_only);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

/* ---- one function, all entities -------------------------------------------------------------- */

/* All that a script may have changed in the view is set anew. */
static void show(lua_State *L, const struct look *look, int view, int current, int forecast)
{
    lua_pushstring(L, look->frame->keys[look->key]);
    lua_setfield(L, view, "name");
    lua_pushstring(L, look->frame->profiles[look->key]);
    lua_setfield(L, view, "profile");
    lua_pushvalue(L, current);
    lua_setfield(L, view, "current");
    lua_pushvalue(L, forecast);
    lua_setfield(L, view, "forecast");
}

/* The result on top of the stack. */
static struct md_alert_verdict verdict_of(lua_State *L)
{
    struct md_alert_verdict verdict = {.holds = MD_ALERT_NO, .value = NAN, .limit = NAN};
    bool is_number = lua_type(L, -1) == LUA_TNUMBER;
    if (is_number)
        verdict.value = (float)lua_tonumber(L, -1);
    if (is_number && isnan(verdict.value))
        verdict.holds = MD_ALERT_UNKNOWN;
    else if (is_number || lua_toboolean(L, -1))
        verdict.holds = MD_ALERT_YES;
    return verdict;
}

/* Raises what the rule's function raised, unless it had been given a nil. */
static void ask(lua_State *L, struct look *look, struct md_alert_verdict *verdict, int function,
                int view)
{
    struct md__state *state = md__state(L);
    look->missed = false;
    lua_pushvalue(L, function);
    lua_pushvalue(L, view);
    int status = lua_pcall(L, 1, 1, 0);
    if (state->expired || status == LUA_ERRMEM || (status != 0 && !look->missed))
        lua_error(L);
    if (status != 0)
        *verdict = (struct md_alert_verdict){.holds = MD_ALERT_UNKNOWN, .value = NAN, .limit = NAN};
    else
        *verdict = verdict_of(L);
    lua_pop(L, 1);
}

/* app.alerts.functions[number].run */
static void push_function(lua_State *L, int number)
{
    lua_getfield(L, LUA_REGISTRYINDEX, md__app_key);
    lua_getfield(L, -1, "alerts");
    lua_getfield(L, -1, "functions");
    lua_rawgeti(L, -1, number);
    lua_getfield(L, -1, "run");
    luaL_checktype(L, -1, LUA_TFUNCTION);
}

/* Arguments: what to judge, and the look, which the caller empties. */
static int judge_entities(lua_State *L)
{
    const struct judging *judging = lua_touserdata(L, 1);
    struct look *look = lua_touserdata(L, 2);
    push_current(L, 2);
    push_closure(L, 2, forecast_get);
    lua_createtable(L, 0, 4);
    push_function(L, judging->function);
    int function = lua_gettop(L);
    for (look->key = 0; look->key < judging->frame->key_count; look->key++) {
        show(L, look, 5, 3, 4);
        ask(L, look, &judging->verdicts[look->key], function, 5);
    }
    return 0;
}

static int judge_all(lua_State *L)
{
    const struct judging *judging = lua_touserdata(L, 1);
    struct look *look = lua_newuserdata(L, sizeof *look);
    *look = (struct look){.frame = judging->frame};
    lua_pushcfunction(L, judge_entities);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    int status = lua_pcall(L, 2, 0, 0);
    look->frame = NULL;
    return status == 0 ? 0 : lua_error(L);
}

/* Time of the rule's own, within what the task has left. */
struct allowance {
    int64_t end_ns;
    bool expired;
};

static struct allowance allow(struct md__state *state, int64_t budget_ns)
{
    struct allowance before = {state->budget_end_ns, state->expired};
    int64_t end_ns = md_monotonic_ns(state->script->clock) + budget_ns;
    state->budget_end_ns = before.end_ns != 0 && before.end_ns < end_ns ? before.end_ns : end_ns;
    state->look_at = 1;
    return before;
}

/* A rule that took the last of the task's time leaves the task without any, too. */
static bool end_allowance(struct md__state *state, struct allowance before)
{
    bool expired = state->expired;
    bool task_is_spent =
        before.end_ns != 0 && md_monotonic_ns(state->script->clock) > before.end_ns;
    state->budget_end_ns = before.end_ns;
    state->expired = before.expired || (expired && task_is_spent);
    return expired && !before.expired;
}

/* The failure of lua_cpcall is on top of the stack. */
static enum md_status fail_rule(lua_State *L, int lua_status, bool expired, struct md_error *err)
{
    struct md__state *state = md__state(L);
    enum md_status status = md__take_error(L, lua_status, err);
    if (!expired)
        return status;
    const char *place = state->stopped_at;
    status =
        md_fail(err, MD_ERR_SCRIPT, "%s%s%s", place, place[0] != '\0' ? ": " : "", md__spent_text);
    state->stopped_at[0] = '\0';
    return status;
}

static enum md_status evaluate(void *context, int function, const struct md_alert_frame *frame,
                               struct md_alert_verdict *verdicts, struct md_error *err)
{
    const struct md__alert_caller *caller = context;
    struct judging judging = {frame, function, verdicts};
    struct md__state *state = md__state(caller->L);
    struct allowance before = allow(state, caller->budget_ns);
    struct md__state *running = md__state_running(state);
    int status = lua_cpcall(caller->L, judge_all, &judging);
    md__state_running(running);
    bool expired = end_allowance(state, before);
    return status == 0 ? MD_OK : fail_rule(caller->L, status, expired, err);
}

struct md_alert_predicate md__alert_predicate(struct md__alert_caller *caller)
{
    return (struct md_alert_predicate){.context = caller, .evaluate = evaluate};
}
