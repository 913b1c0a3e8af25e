/*
 * One evaluation of the rules, on the scheduler's task: lua/moondial/alerts.lua asks the app for
 * its forecasts, has a frame made of everything, and gives it to native.alert_tick, which calls the
 * rules' functions here and does the rest, with the disk that it needs, while the Lua state serves
 * others.
 *
 * Functions look at the frame as it will be kept (rounded), so that a rehearsal calls them with the
 * same numbers.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "script/alerts.h"

/* The engine takes over this generation's rules, when it has others. */
static void take_rules(lua_State *L, struct md_alert_live *live, const struct md__alerts *alerts)
{
    struct md_alert_rules *before = md_alert_live_rules(live);
    bool is_news = before != alerts->rules;
    struct md_error err;
    md_alert_rules_unref(before);
    if (!is_news)
        return;
    md_alert_live_set_rules(live, alerts->rules);
    if (md_alert_live_set_keep(live, alerts->keep_within_ms, alerts->keep_quantiles,
                               alerts->keep_quantile_count, &err) != MD_OK)
        luaL_error(L, "%s", err.text);
}

int md__alerts_prepare(lua_State *L, int64_t closed_ms, int64_t step_ms, int64_t now_ms)
{
    struct md__state *state = md__state(L);
    struct md_alert_live *live = atomic_load(&state->script->alerts);
    if (live != NULL)
        take_rules(L, live, state->generation->alerts);
    md__app_push_function(L, "alerts", 0);
    lua_createtable(L, 0, 4);
    md__set_number(L, "closed_ms", (double)closed_ms);
    md__set_number(L, "step_ms", (double)step_ms);
    md__set_number(L, "now_ms", (double)now_ms);
    return 2;
}

int md__alert_wants(lua_State *L)
{
    const char *column = luaL_checkstring(L, 1);
    float quantile = (float)luaL_checknumber(L, 2);
    struct md_alert_live *live = atomic_load(&md__state(L)->script->alerts);
    int64_t within_ms = 0;
    if (live == NULL || !md_alert_live_wants(live, column, quantile, &within_ms))
        return 0;
    lua_pushnumber(L, (double)within_ms / 60000);
    return 1;
}

/* A new trouble is logged once; /health shows it until it has gone. */
int md__alert_trouble(lua_State *L)
{
    static const char subject[] = "alert forecasts";
    char reason[320];
    const char *text = luaL_optstring(L, 1, NULL);
    struct md_script *script = md__state(L)->script;
    if (text == NULL) {
        md__degraded_set(script, subject, NULL);
        return 0;
    }
    snprintf(reason, sizeof reason, "alerts are evaluated without forecasts: %.240s", text);
    if (md__degraded_set(script, subject, reason))
        md__script_log(script, MD_LOG_WARN, reason);
    return 0;
}

/* ---- functions ------------------------------------------------------------------------------- */

static void round_frame(lua_State *L, struct md__alert_input *input)
{
    struct md_buffer *bytes = md__scratch(L, 0);
    struct md_error err;
    enum md_status status = md_alert_frame_encode(&input->frame, bytes, &err);
    if (status == MD_OK)
        status = md_alert_frame_decode(bytes->data, bytes->length, &input->rounded, &err);
    if (status != MD_OK)
        luaL_error(L, "%s", err.text);
    md_buffer_fini(bytes);
}

static void call_functions(lua_State *L, struct md__alert_input *input)
{
    const struct md__state *state = md__state(L);
    int count = input->generation->alerts->function_count;
    if (count == 0)
        return;
    round_frame(L, input);
    const struct md_alert_frame *frame = &input->rounded.frame;
    int64_t budget_ms = md_config_int(input->generation->config, "alert_rule_budget_ms");
    struct md__alert_caller caller = {L, budget_ms * 1000000};
    struct md_alert_predicate predicate = md__alert_predicate(&caller);
    input->verdicts = md__alert_input_take(L, input, (size_t)count, sizeof *input->verdicts);
    input->failures = md__alert_input_take(L, input, (size_t)count, sizeof *input->failures);
    memset(input->failures, 0, (size_t)count * sizeof *input->failures);
    for (int f = 0; f < count; f++) {
        struct md_error err;
        input->verdicts[f] =
            md__alert_input_take(L, input, (size_t)frame->key_count, sizeof *input->verdicts[f]);
        if (predicate.evaluate(&caller, f + 1, frame, input->verdicts[f], &err) != MD_OK)
            input->failures[f] = md_arena_strdup(&input->arena, err.text);
        if (state->expired) /* the time of the whole task */
            luaL_error(L, "%s", md__spent_text);
    }
}

/* What the functions said, for the engine: it has the same entities, in the same order. */
static enum md_status recall(void *context, int function, const struct md_alert_frame *frame,
                             struct md_alert_verdict *verdicts, struct md_error *err)
{
    const struct md__alert_input *input = context;
    if (function < 1 || function > input->generation->alerts->function_count)
        return md_fail(err, MD_ERR_INTERNAL, "there is no function %d", function);
    if (input->failures[function - 1] != NULL)
        return md_fail(err, MD_ERR_SCRIPT, "%s", input->failures[function - 1]);
    memcpy(verdicts, input->verdicts[function - 1], (size_t)frame->key_count * sizeof *verdicts);
    return MD_OK;
}

/* ---- the tick -------------------------------------------------------------------------------- */

struct tick_wait {
    struct md_wait base;
    struct md__alert_input *input;
};

static enum md_status tick_block(struct md_wait *wait, struct md_script *script,
                                 int64_t deadline_ns, struct md_error *err)
{
    struct md__alert_input *input = ((struct tick_wait *)wait)->input;
    struct md_alert_live *live = atomic_load(&script->alerts);
    const struct md__alerts *alerts = input->generation->alerts;
    struct md_alert_predicate predicate = {.context = input, .evaluate = recall};
    bool rounded = alerts->function_count > 0;
    int64_t begun_ns = md_monotonic_ns(script->clock);
    (void)deadline_ns;
    enum md_status status =
        md_alert_live_tick(live, rounded ? &input->rounded.frame : &input->frame, &predicate, err);
    double seconds = (double)(md_monotonic_ns(script->clock) - begun_ns) / 1e9;
    if (status == MD_OK)
        md__alerts_tell(script, alerts->rules, seconds);
    return status;
}

static void tick_drop(struct md_wait *wait)
{
    md__alert_input_unref(((struct tick_wait *)wait)->input);
    free(wait);
}

int md__alert_tick(lua_State *L)
{
    struct md__alert_input *input = md__alert_input_check(L, 1);
    md__check_changing(L, "native.alert_tick");
    call_functions(L, input);
    struct tick_wait *wait = malloc(sizeof *wait);
    if (wait == NULL)
        return luaL_error(L, "not enough memory");
    *wait = (struct tick_wait){
        .base = {.block = tick_block, .finish = md__wait_true, .drop = tick_drop, .once = true},
        .input = input};
    atomic_fetch_add(&input->refs, 1);
    return md__yield(L, &wait->base);
}
