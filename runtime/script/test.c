/*
 * Running policy tests; see test.h. Cases are listed once. Those that need no service share one
 * state; a case that makes its service begin, or that had to be stopped, leaves a world that nobody
 * else gets: the next case has the folder loaded anew, which takes some milliseconds.
 *
 * A world is a script engine whose scheduler never starts: the case itself lets time pass, on its
 * own thread (md__test_advance), so that every run of a test does the same in the same order.
 */
#include "script/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/stack.h"
#include "script/sources.h"
#include "script/test_internal.h"
#include "script/watch.h"
#include "serve/serve.h"

static const char folder[] = "tests";
const char md__test_note_key[] = "moondial.test.note";

/* Of a case: Lua between two waits, and everything. */
static const int64_t slice_budget_ns = 2000000000, case_budget_ns = 60000000000;
static const int64_t start_ms = 1704067200000; /* before a case says when; 2024-01-01 */
static const size_t text_bytes_max = (size_t)16 << 20;

struct listed {
    const char *file, *name;
    int position, line;
    bool fast;
};

struct testing {
    const struct md_script_options *options;
    struct md__test *test; /* NULL: to be made */
    struct md_arena arena; /* of the list */
    struct listed *cases;
    int count;
    void (*report)(void *context, const struct md_test_result *result);
    void *context;
};

/* ---- files ----------------------------------------------------------------------------------- */

static int is_test(const struct dirent *entry)
{
    return md__watch_kind(entry->d_name, false) == MD__WATCH_SCRIPT;
}

int md__test_files(const char *dir, bool (*visit)(void *context, const char *relative),
                   void *context)
{
    char path[4096], relative[sizeof folder + 256];
    struct dirent **entries;
    snprintf(path, sizeof path, "%s/%s", dir, folder);
    int visited = 0, count = scandir(path, &entries, is_test, alphasort);
    bool more = true;
    for (int i = 0; i < count; i++) {
        snprintf(relative, sizeof relative, "%s/%s", folder, entries[i]->d_name);
        if (more) {
            more = visit(context, relative);
            visited++;
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return visited;
}

static bool read_one(void *sources, const char *relative)
{
    struct md__source *source;
    md__sources_get(sources, relative, &source, NULL);
    return true;
}

void md__test_read(struct md__sources *sources, const char *dir)
{
    md__test_files(dir, read_one, sources);
}

/* ---- a world --------------------------------------------------------------------------------- */

static int load_library(lua_State *L)
{
    struct md__state *state = md__state(L);
    state->loading = true;
    md__require(L, "moondial.test");
    state->loading = false;
    return 0;
}

static enum md_status make_state(struct md__test *test, struct md_error *err)
{
    enum md_status status =
        md__generation_state(test->script->current, MD__STATE_TEST, &test->state, err);
    if (status != MD_OK)
        return status;
    test->state->test = test;
    md__budget_begin(test->state, slice_budget_ns);
    status = md__protect(test->state, load_library, NULL, err);
    md__budget_end(test->state);
    return status;
}

static void close_world(struct md__test *test)
{
    if (test == NULL)
        return;
    if (test->script != NULL)
        md_script_stop(test->script);
    md__scheduler_delete(test->scheduler);
    md__state_delete(test->state);
    md_script_delete(test->script);
    free(test);
}

static enum md_status open_world(const struct md_script_options *options, struct md__test **result,
                                 struct md_error *err)
{
    struct md__test *test = calloc(1, sizeof *test);
    if (test == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a test");
    md_clock_standing_init(&test->clock, options->clock, start_ms);
    struct md_script_options own = *options;
    own.clock = &test->clock.base;
    own.store = NULL;
    enum md_status status = md_script_new(&own, &test->script, err);
    if (status == MD_OK) {
        md__sources_unseal(test->script->current->sources);
        status = make_state(test, err);
    }
    if (status != MD_OK) {
        close_world(test);
        return status;
    }
    *result = test;
    return MD_OK;
}

/* Models outlive worlds: one is loaded when it is not there yet, or a case has put another into
 * its place. */
static bool is_loaded(const struct md_script *script, const struct md__model_entry *entry)
{
    struct md_model *model = NULL;
    if (script->serve == NULL || md_serve_model(script->serve, entry->name, &model, NULL) != MD_OK)
        return false;
    bool same = strcmp(md_model_path(model), entry->path) == 0;
    md_model_unref(model);
    return same;
}

static enum md_status load_models(struct md_script *script, struct md_error *err)
{
    const struct md_generation *generation = script->current;
    enum md_status status = MD_OK;
    for (int i = 0; i < generation->model_count && status == MD_OK; i++) {
        const struct md__model_entry *model = &generation->models[i];
        if (!is_loaded(script, model) && md__model_load(script, model, err) != MD_OK &&
            !model->optional)
            status = err->code;
    }
    return status;
}

static int inject(lua_State *L)
{
    struct md__state *state = md__state(L);
    state->loading = true;
    md__require(L, "moondial.test.inject");
    state->loading = false;
    lua_getfield(L, LUA_REGISTRYINDEX, md__app_key);
    lua_call(L, 1, 0);
    return 0;
}

enum md_status md__test_begin(struct md__test *test, int64_t begin_ms, bool injects,
                              struct md_error *err)
{
    if (test->scheduler != NULL)
        return md_fail(err, MD_ERR_CONFLICT, "the service of a case begins once");
    md_clock_standing_set(&test->clock, begin_ms);
    enum md_status status = load_models(test->script, err);
    if (status == MD_OK)
        status = md__scheduler_new(test->script->current, &test->scheduler, err);
    if (status == MD_OK && injects)
        status = md__scheduler_protect(test->scheduler, inject, err);
    if (status == MD_OK)
        md__scheduler_begin_by_hand(test->scheduler);
    return status;
}

enum md_status md__test_advance(struct md__test *test, int64_t to_ms, struct md_error *err)
{
    int64_t due_ms, now_ms = md_now_ms(&test->clock.base);
    if (test->scheduler == NULL)
        return md_fail(err, MD_ERR_CONFLICT, "the service has not begun");
    if (to_ms < now_ms)
        return md_fail(err, MD_ERR_INVALID, "time goes on only");
    while ((due_ms = md__scheduler_due_ms(test->scheduler)) <= to_ms) {
        now_ms = due_ms > now_ms ? due_ms : now_ms;
        md_clock_standing_set(&test->clock, now_ms);
        md__scheduler_run_due(test->scheduler);
    }
    md_clock_standing_set(&test->clock, to_ms);
    return MD_OK;
}

/* ---- the list -------------------------------------------------------------------------------- */

static const char *keep(lua_State *L, struct testing *testing, const char *field)
{
    const char *copy = md_arena_strdup(&testing->arena, md__field_string(L, -1, field, NULL));
    if (copy == NULL)
        luaL_error(L, "no memory for the list of cases");
    return copy;
}

/* moondial.test's function on top of the stack. */
static void push_function(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, md__loaded_key);
    lua_getfield(L, -1, "moondial.test");
    lua_getfield(L, -1, name);
    lua_insert(L, -3);
    lua_pop(L, 2);
}

static int list(lua_State *L)
{
    struct testing *testing = lua_touserdata(L, 1);
    push_function(L, "cases");
    lua_call(L, 0, 1);
    int count = (int)lua_objlen(L, -1);
    testing->cases = md_arena_array(&testing->arena, (size_t)count + 1, sizeof *testing->cases);
    if (testing->cases == NULL)
        return luaL_error(L, "no memory for the list of cases");
    for (int i = 0; i < count; i++) {
        struct listed *listed = &testing->cases[i];
        lua_rawgeti(L, -1, i + 1);
        listed->file = keep(L, testing, "file");
        listed->name = keep(L, testing, "name");
        listed->position = (int)md__field_int(L, -1, "position", 0, 1, INT32_MAX);
        listed->line = (int)md__field_int(L, -1, "line", 0, 0, INT32_MAX);
        listed->fast = md__field_bool(L, -1, "fast", false);
        lua_pop(L, 1);
    }
    testing->count = count;
    return 0;
}

static enum md_status list_cases(struct testing *testing, struct md_error *err)
{
    enum md_status status = open_world(testing->options, &testing->test, err);
    if (status != MD_OK)
        return status;
    md__budget_begin(testing->test->state, slice_budget_ns);
    status = md__protect(testing->test->state, list, testing, err);
    md__budget_end(testing->test->state);
    return status;
}

/* ---- a case ---------------------------------------------------------------------------------- */

struct running {
    struct md__task task;
    const struct listed *listed;
    struct md_test_result result;
    struct md_arena arena; /* of the result's texts */
    struct md_error err;
};

static int prepare(lua_State *L)
{
    const struct running *running = lua_touserdata(L, 1);
    lua_settop(L, 0);
    push_function(L, "run_case");
    lua_pushstring(L, running->listed->file);
    lua_pushinteger(L, running->listed->position);
    return 3;
}

static const char *take(lua_State *L, struct running *running, const char *field)
{
    const char *text = md_arena_strdup(&running->arena, md__field_string(L, -1, field, ""));
    return text != NULL ? text : "";
}

/* The failure, or nil, is on the coroutine. */
static int finish(lua_State *L)
{
    struct running *running = lua_touserdata(L, 1);
    struct md_test_result *result = &running->result;
    lua_xmove(running->task.co, L, 1);
    result->passed = lua_isnil(L, -1);
    if (result->passed)
        return 0;
    result->failed_file = take(L, running, "file");
    result->failed_line = (int)md__field_int(L, -1, "line", 0, 0, INT32_MAX);
    result->text = take(L, running, "text");
    result->expected = take(L, running, "expected");
    result->actual = take(L, running, "actual");
    return 0;
}

/* "tests/rules.lua:12: it ...": where a case was stopped. */
static void take_place(struct running *running)
{
    struct md_test_result *result = &running->result;
    size_t length = strlen(result->file);
    const char *text = running->err.text;
    char *end = (char *)text;
    if (strncmp(text, result->file, length) == 0 && text[length] == ':')
        result->failed_line = (int)strtol(text + length + 1, &end, 10);
    result->text = strncmp(end, ": ", 2) == 0 ? end + 2 : text;
}

static void run_on_stack(void *context)
{
    struct running *running = context;
    struct md__task *task = &running->task;
    struct md_error *err = &running->err;
    enum md_status status = md__task_run(task, prepare, running, err);
    if (status == MD_OK)
        status = md__task_protect(task, finish, running, err);
    if (status != MD_OK) {
        running->result.passed = false;
        take_place(running);
    }
    md__task_end(task);
}

static bool is_spent(const struct md__test *test, const struct md__task *task)
{
    return test->scheduler != NULL || task->killed || task->failed_memory || test->state->dead;
}

static enum md_status run_case(struct testing *testing, const struct listed *listed,
                               struct md_error *err)
{
    struct md_clock *clock = testing->options->clock;
    struct running running = {.listed = listed};
    struct md_test_result *result = &running.result;
    enum md_status status = MD_OK;
    int64_t began_ns = md_monotonic_ns(clock);
    *result = (struct md_test_result){.file = listed->file,
                                      .line = listed->line,
                                      .name = listed->name,
                                      .fast = listed->fast,
                                      .failed_file = listed->file,
                                      .failed_line = listed->line,
                                      .text = "",
                                      .expected = "",
                                      .actual = ""};
    if (testing->test == NULL)
        status = open_world(testing->options, &testing->test, err);
    if (status != MD_OK)
        return status;
    md_arena_init(&running.arena, text_bytes_max);
    running.task = (struct md__task){.what = listed->name,
                                     .state = testing->test->state,
                                     .budget_ns = slice_budget_ns,
                                     .deadline_ns = md_monotonic_ns(clock) + case_budget_ns};
    status = md_stack_call(run_on_stack, &running, err);
    result->ms = (double)(md_monotonic_ns(clock) - began_ns) / 1e6;
    if (status == MD_OK)
        testing->report(testing->context, result);
    md_arena_fini(&running.arena);
    if (status != MD_OK || is_spent(testing->test, &running.task)) {
        close_world(testing->test);
        testing->test = NULL;
    }
    return status;
}

/* ---- all ------------------------------------------------------------------------------------- */

static bool is_wanted(const struct listed *listed, const char *only)
{
    return only == NULL || strstr(listed->name, only) != NULL || strstr(listed->file, only) != NULL;
}

enum md_status md_script_test(const struct md_script_options *options, const char *only,
                              void (*report)(void *context, const struct md_test_result *result),
                              void *context, struct md_error *err)
{
    struct testing testing = {.options = options, .report = report, .context = context};
    int run = 0;
    md_arena_init(&testing.arena, text_bytes_max);
    enum md_status status = list_cases(&testing, err);
    for (int i = 0; i < testing.count && status == MD_OK; i++) {
        if (is_wanted(&testing.cases[i], only)) {
            status = run_case(&testing, &testing.cases[i], err);
            run++;
        }
    }
    close_world(testing.test);
    md_arena_fini(&testing.arena);
    if (status != MD_OK || run > 0)
        return status;
    if (testing.count == 0)
        return md_fail(err, MD_ERR_NOT_FOUND, "%.150s/%s holds no tests", options->dir, folder);
    return md_fail(err, MD_ERR_NOT_FOUND, "none of %d tests is called like \"%.100s\"",
                   testing.count, only);
}
