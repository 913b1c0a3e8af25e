/* Building a generation and letting it go; see generation.h. */
#include "script/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/alerts.h"

enum { STATES_MAX = 256, TASKS_MAX = 10000 };

static const int64_t load_budget_ns = 10000000000; /* to load all files in one state */
static const size_t description_bytes_max = (size_t)16 << 20;

static int declare(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, md__app_key);
    for (int i = 0; md__bindings[i] != NULL; i++) {
        if (md__bindings[i]->declare == NULL)
            continue;
        lua_settop(L, 2);
        md__bindings[i]->declare(L, md__state(L)->script);
    }
    return 0;
}

enum md_status md__generation_state(struct md_generation *generation, enum md__state_kind kind,
                                    struct md__state **result, struct md_error *err)
{
    struct md__state *state = NULL;
    enum md_status status = md__state_new(generation->script, generation, kind, &state, err);
    if (status == MD_OK) {
        md__budget_begin(state, load_budget_ns);
        status = md__protect(state, md__app_load, NULL, err);
        md__budget_end(state);
    }
    if (status != MD_OK) {
        md__state_delete(state);
        return status;
    }
    md__state_collect(state);
    state->bytes_base = state->bytes_used;
    *result = state;
    return MD_OK;
}

/* The first state also says what the app is. */
static enum md_status read_description(struct md_generation *generation, struct md__state *state,
                                       struct md_error *err)
{
    enum md_status status = md__protect(state, md__app_read, generation, err);
    return status == MD_OK ? md__protect(state, declare, NULL, err) : status;
}

static enum md_status make_states(struct md_generation *generation, struct md__state **states,
                                  int count, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; i < count && status == MD_OK; i++) {
        status = md__generation_state(generation, MD__STATE_REQUEST, &states[i], err);
        if (status == MD_OK && i == 0)
            status = read_description(generation, states[0], err);
    }
    return status;
}

static enum md_status read_limits(const struct md_config *config, int *states, int *tasks_max,
                                  struct md_error *err)
{
    int64_t wanted = md_config_int(config, "states");
    int64_t tasks = md_config_int(config, "state_tasks_max");
    if (wanted < 1 || wanted > STATES_MAX || tasks < 1 || tasks > TASKS_MAX)
        return md_fail(err, MD_ERR_INVALID, "states must be 1 to %d, state_tasks_max 1 to %d",
                       STATES_MAX, TASKS_MAX);
    *states = (int)wanted;
    *tasks_max = (int)tasks;
    return MD_OK;
}

static void count_live(struct md_script *script, int change)
{
    pthread_mutex_lock(&script->lock);
    script->generations_live += change;
    md__metric_generations(script->generations_live,
                           script->current != NULL ? script->current->number : 0);
    pthread_cond_broadcast(&script->stopped);
    pthread_mutex_unlock(&script->lock);
}

static struct md_generation *begin(struct md_script *script, const struct md__making *making)
{
    struct md_generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL)
        return NULL;
    atomic_init(&generation->refs, 1);
    generation->number = making->number;
    generation->script = script;
    generation->config = md_config_ref(making->config);
    generation->budget_ns = md_config_int(making->config, "handler_budget_ms") * 1000000;
    generation->state_wait_ns = md_config_int(making->config, "state_wait_ms") * 1000000;
    generation->sources = md__sources_ref(making->sources);
    generation->made_ms = md_now_ms(script->clock);
    snprintf(generation->reason, sizeof generation->reason, "%s", making->reason);
    md_arena_init(&generation->arena, description_bytes_max);
    count_live(script, 1);
    return generation;
}

enum md_status md__generation_new(struct md_script *script, const struct md__making *making,
                                  struct md_generation **result, struct md_error *err)
{
    struct md__state *states[STATES_MAX] = {NULL};
    int count = 0, tasks_max = 0;
    enum md_status status = read_limits(making->config, &count, &tasks_max, err);
    if (status != MD_OK)
        return status;
    struct md_generation *generation = begin(script, making);
    if (generation == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a generation of scripts");
    status = make_states(generation, states, count, err);
    if (status == MD_OK)
        status = md__pool_new(states, count, tasks_max, &generation->pool, err);
    if (status != MD_OK) {
        for (int i = 0; i < count; i++)
            md__state_delete(states[i]);
        md__generation_settle(script, false, NULL);
        md__generation_unref(generation);
        return status;
    }
    *result = generation;
    return MD_OK;
}

enum md_status md__generation_settle(struct md_script *script, bool accepted, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; md__bindings[i] != NULL && status == MD_OK; i++) {
        if (md__bindings[i]->settle != NULL)
            status = md__bindings[i]->settle(script, accepted, err);
    }
    return status;
}

struct md_generation *md__generation_ref(struct md_generation *generation)
{
    atomic_fetch_add(&generation->refs, 1);
    return generation;
}

void md__generation_unref(struct md_generation *generation)
{
    if (generation == NULL || atomic_fetch_sub(&generation->refs, 1) != 1)
        return;
    struct md_script *script = generation->script;
    pthread_mutex_lock(&script->lock);
    if (script->retired == generation)
        script->retired = NULL;
    pthread_mutex_unlock(&script->lock);
    if (atomic_load(&generation->retired_ns) != 0)
        md__models_leave(generation);
    md__pool_delete(generation->pool);
    md__alerts_release(generation);
    md_arena_fini(&generation->arena);
    md__sources_unref(generation->sources);
    md_config_unref(generation->config);
    free(generation);
    count_live(script, -1);
}

struct md_generation *md__generation_current(struct md_script *script)
{
    pthread_mutex_lock(&script->lock);
    struct md_generation *generation = md__generation_ref(script->current);
    pthread_mutex_unlock(&script->lock);
    return generation;
}

bool md__generation_expired(const struct md_generation *generation)
{
    int64_t retired_ns = atomic_load(&generation->retired_ns);
    if (retired_ns == 0)
        return false;
    int64_t drain_ns = md_config_int(generation->config, "drain_ms_max") * 1000000;
    return md_monotonic_ns(generation->script->clock) - retired_ns > drain_ns;
}
