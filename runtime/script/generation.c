/* Building a generation and letting it go; see generation.h. */
#include "script/generation.h"

#include <stdlib.h>
#include <string.h>

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
    enum md_status status = md__state_new(generation->script, kind, &state, err);
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

enum md_status md__generation_new(struct md_script *script, int number,
                                  struct md_generation **result, struct md_error *err)
{
    struct md__state *states[STATES_MAX] = {NULL};
    int64_t wanted = md_config_int(script->config, "states");
    int64_t tasks_max = md_config_int(script->config, "state_tasks_max");
    if (wanted < 1 || wanted > STATES_MAX || tasks_max < 1 || tasks_max > TASKS_MAX)
        return md_fail(err, MD_ERR_INVALID, "states must be 1 to %d, state_tasks_max 1 to %d",
                       STATES_MAX, TASKS_MAX);
    int count = (int)wanted;
    struct md_generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a generation of scripts");
    atomic_init(&generation->refs, 1);
    generation->number = number;
    generation->script = script;
    md_arena_init(&generation->arena, description_bytes_max);
    enum md_status status = make_states(generation, states, count, err);
    if (status == MD_OK)
        status = md__pool_new(states, count, (int)tasks_max, &generation->pool, err);
    if (status != MD_OK) {
        for (int i = 0; i < count; i++)
            md__state_delete(states[i]);
        md__generation_unref(generation);
        return status;
    }
    *result = generation;
    return MD_OK;
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
    md__pool_delete(generation->pool);
    md_arena_fini(&generation->arena);
    free(generation);
}

struct md_generation *md__generation_current(struct md_script *script)
{
    pthread_mutex_lock(&script->lock);
    struct md_generation *generation = md__generation_ref(script->current);
    pthread_mutex_unlock(&script->lock);
    return generation;
}
