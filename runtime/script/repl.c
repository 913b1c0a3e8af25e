/* Sessions of the REPL; see repl.h. What Lua can ask of them is in bind_repl.c. */
#include "script/repl.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_in.h"
#include "base/stack.h"
#include "script/repl_internal.h"
#include "script/sources.h"

static const size_t answer_bytes_max = (size_t)16 << 20;

/* ---- the state ------------------------------------------------------------------------------- */

/* A folder may have a repl.lua of its own: a table of helpers. */
static int load_library(lua_State *L)
{
    struct md__state *state = md__state(L);
    char relative[MD__MODULE_FILE_MAX];
    state->loading = true;
    if (md__module_find(state->sources, "repl", relative))
        md__require(L, "repl");
    md__require(L, "moondial.repl");
    state->loading = false;
    return 0;
}

static void close_world(struct md__world *world)
{
    md__state_delete(world->state);
    md_config_unref(world->generation.config);
    md__sources_unref(world->generation.sources);
    free(world);
}

static void copy_source(void *sources, const struct md__source *source)
{
    md__sources_put(sources, source->name, source->text, source->length, NULL);
}

/* The folder as it is on disk now (or, when not NULL, as a generation has it), but for the
 * session's own texts: what is put first counts. */
static enum md_status read_sources(struct md_repl *repl, struct md__world *world,
                                   struct md_generation *like, struct md_error *err)
{
    enum md_status status = MD_OK;
    world->generation.sources = md__sources_new(repl->script->dir, true);
    if (world->generation.sources == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a session");
    for (int i = 0; i < repl->file_count && status == MD_OK; i++)
        status = md__sources_put(world->generation.sources, repl->files[i].name,
                                 repl->files[i].text, repl->files[i].length, err);
    if (like != NULL)
        md__sources_visit(like->sources, copy_source, world->generation.sources);
    return status;
}

/* Of an expression, and of loading the files. */
static int64_t budget_ns(const struct md__world *world)
{
    return md_config_int(world->generation.config, "repl_budget_ms") * 1000000;
}

static enum md_status load(struct md_repl *repl, struct md__world *world,
                           struct md_generation *like, struct md_error *err)
{
    enum md_status status = read_sources(repl, world, like, err);
    if (status == MD_OK)
        status =
            md__state_new(repl->script, &world->generation, MD__STATE_REPL, &world->state, err);
    if (status != MD_OK)
        return status;
    world->state->repl = repl;
    world->state->interrupted = &repl->interrupted;
    md__budget_begin(world->state, budget_ns(world));
    status = md__protect(world->state, md__app_load, NULL, err);
    if (status == MD_OK)
        status = md__protect(world->state, load_library, NULL, err);
    md__budget_end(world->state);
    return status;
}

static enum md_status make_world(struct md_repl *repl, struct md_generation *current,
                                 struct md_generation *like, struct md__world **result,
                                 struct md_error *err)
{
    struct md__world *world = calloc(1, sizeof *world);
    if (world == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a session");
    world->number = ++repl->worlds;
    world->generation.script = repl->script;
    world->generation.number = current->number;
    world->generation.config = md_config_ref(current->config);
    enum md_status status = load(repl, world, like, err);
    if (status != MD_OK)
        close_world(world);
    else
        *result = world;
    return status;
}

/*
 * When the files on disk do not load, what serves is there to be looked into all the same. Whether
 * the session's own texts are to blame shows when they are laid over that.
 */
static enum md_status open_world(struct md_repl *repl, struct md__world **result,
                                 struct md_error *err)
{
    struct md_error trouble;
    struct md_generation *current = md__generation_current(repl->script);
    enum md_status status = make_world(repl, current, NULL, result, &trouble);
    repl->trouble[0] = '\0';
    if (status == MD_ERR_SCRIPT || status == MD_ERR_INVALID) {
        status = make_world(repl, current, current, result, NULL);
        if (status == MD_OK)
            memcpy(repl->trouble, trouble.text, sizeof repl->trouble);
    }
    md__generation_unref(current);
    return status == MD_OK ? MD_OK : md_fail(err, trouble.code, "%s", trouble.text);
}

static void drop_carried(struct md_repl *repl)
{
    while (repl->carried_count > 0)
        md__value_unref(repl->carried[--repl->carried_count].value);
}

static void drop_files(struct md_repl *repl)
{
    while (repl->file_count > 0)
        free(repl->files[--repl->file_count].text);
}

/* A new state from the files as they are now for this session; on failure the old one stays. */
static enum md_status rebuild(struct md_repl *repl, struct md_error *err)
{
    struct md__world *world;
    enum md_status status = open_world(repl, &world, err);
    if (status == MD_OK) {
        close_world(repl->world);
        repl->world = world;
    }
    drop_carried(repl);
    return status;
}

/* ---- files ----------------------------------------------------------------------------------- */

static struct md__repl_file *find_file(struct md_repl *repl, const char *name)
{
    for (int i = 0; i < repl->file_count; i++) {
        if (strcmp(repl->files[i].name, name) == 0)
            return &repl->files[i];
    }
    return NULL;
}

/* Exchanges the session's text of a file with *other, either of which may be none. */
static enum md_status exchange_file(struct md_repl *repl, struct md__repl_file *other,
                                    struct md_error *err)
{
    struct md__repl_file *file = find_file(repl, other->name), before;
    if (file == NULL && other->text == NULL)
        return MD_OK;
    if (file == NULL) {
        if (repl->file_count == MD__REPL_FILES_MAX)
            return md_fail(err, MD_ERR_TOO_LARGE, "a session changes at most %d files",
                           MD__REPL_FILES_MAX);
        file = &repl->files[repl->file_count++];
        memset(file, 0, sizeof *file);
        memcpy(file->name, other->name, sizeof file->name);
    }
    before = *file;
    *file = *other;
    *other = before;
    if (file->text == NULL)
        *file = repl->files[--repl->file_count];
    return MD_OK;
}

static enum md_status apply_staged(struct md_repl *repl, struct md_error *err)
{
    enum md_status status = exchange_file(repl, &repl->staged, err);
    if (status == MD_OK) {
        status = rebuild(repl, err);
        if (status != MD_OK)
            exchange_file(repl, &repl->staged, NULL); /* back: there is room, it was there before */
    }
    return status;
}

/* Whether or not the request that wanted it ended well. */
static void drop_wishes(struct md_repl *repl)
{
    free(repl->staged.text);
    memset(&repl->staged, 0, sizeof repl->staged);
    free(repl->compare);
    repl->compare = NULL;
    repl->reset = false;
    drop_carried(repl);
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct md_repl *new_session(struct md_script *script)
{
    static _Atomic int numbers;
    struct md_repl *repl = calloc(1, sizeof *repl);
    if (repl != NULL) {
        repl->script = script;
        repl->number = ++numbers;
    }
    return repl;
}

enum md_status md_repl_open(struct md_script *script, struct md_repl **result, struct md_error *err)
{
    struct md_repl *repl = new_session(script);
    if (repl == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a session");
    enum md_status status = open_world(repl, &repl->world, err);
    if (status != MD_OK) {
        free(repl);
        return status;
    }
    *result = repl;
    return MD_OK;
}

void md_repl_close(struct md_repl *repl)
{
    if (repl == NULL)
        return;
    drop_wishes(repl);
    drop_files(repl);
    close_world(repl->world);
    free(repl);
}

void md_repl_interrupt(struct md_repl *repl, bool interrupt)
{
    atomic_store(&repl->interrupted, interrupt);
}

/* ---- asking ---------------------------------------------------------------------------------- */

struct asking {
    struct md_repl *repl;
    struct md__task task;
    json_t *request, *result;
    struct md_buffer text; /* of the answer */
    struct md_error *err;
    enum md_status status;
};

static int prepare(lua_State *L)
{
    struct asking *asking = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_getfield(L, LUA_REGISTRYINDEX, md__loaded_key);
    lua_getfield(L, -1, "moondial.repl");
    lua_getfield(L, -1, "answer");
    luaL_checktype(L, -1, LUA_TFUNCTION);
    lua_replace(L, 1);
    lua_settop(L, 1);
    md__json_push(L, asking->request);
    return 2;
}

static int finish(lua_State *L)
{
    struct md_error err;
    struct asking *asking = lua_touserdata(L, 1);
    lua_xmove(asking->task.co, L, 1);
    if (md__json_write(L, -1, -1, &asking->text, &err) != MD_OK)
        return luaL_error(L, "the result cannot be written as JSON: %s", err.text);
    return 0;
}

static enum md_status take_answer(struct asking *asking)
{
    json_t *answer;
    enum md_status status =
        md_json_parse(asking->text.data, asking->text.length, &answer, asking->err);
    if (status == MD_OK) {
        json_object_update(asking->result, answer);
        json_decref(answer);
    }
    return status;
}

/* The stack of a script error, as far as it is of the scripts. */
static void add_trace(struct asking *asking)
{
    if (asking->task.trace != NULL && asking->status == MD_ERR_SCRIPT)
        json_object_set_new(asking->result, "trace", json_string(asking->task.trace));
}

static void ask_on_stack(void *context)
{
    struct asking *asking = context;
    struct md__task *task = &asking->task;
    asking->status = md__task_run(task, prepare, asking, asking->err);
    if (asking->status == MD_OK)
        asking->status = md__task_protect(task, finish, asking, asking->err);
    if (asking->status == MD_OK)
        asking->status = take_answer(asking);
    else
        add_trace(asking);
    md__task_end(task);
}

static enum md_status ask_once(struct md_repl *repl, json_t *request, json_t *result,
                               struct md_error *err)
{
    struct asking *asking = calloc(1, sizeof *asking);
    if (asking == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a request");
    asking->repl = repl;
    asking->task.what = "repl";
    asking->task.state = repl->world->state;
    asking->task.budget_ns = budget_ns(repl->world);
    asking->request = request;
    asking->result = result;
    asking->err = err;
    md_buffer_init(&asking->text, answer_bytes_max);
    enum md_status status = md_stack_call(ask_on_stack, asking, err);
    if (status == MD_OK)
        status = asking->status;
    md_buffer_fini(&asking->text);
    free(asking);
    return status;
}

/* The same code in the files as they are on disk, then both results side by side. */
static enum md_status compare(struct md_repl *repl, json_t *request, json_t *result,
                              struct md_error *err)
{
    struct md_repl *fresh;
    json_t *question = json_copy(request), *before = json_object();
    enum md_status status = md_repl_open(repl->script, &fresh, err);
    if (status == MD_OK) {
        json_object_set_new(question, "op", json_string("repl.eval"));
        json_object_set_new(question, "code", json_string(repl->compare));
        fresh->world->state->interrupted = &repl->interrupted;
        status = ask_once(fresh, question, before, err);
        md_repl_close(fresh);
        if (status != MD_OK)
            md_error_context(err, "with the files on disk");
    }
    if (status == MD_OK) {
        json_object_set_new(question, "op", json_string("repl.difference"));
        json_object_set(question, "before", json_object_get(before, "text"));
        status = ask_once(repl, question, result, err);
    }
    json_decref(question);
    json_decref(before);
    return status;
}

/* A session that has changed no file follows what serves, and keeps its variables. */
static void follow(struct md_repl *repl)
{
    struct md_generation *current = md__generation_current(repl->script);
    bool behind = current->number != repl->world->generation.number;
    md__generation_unref(current);
    if (!behind || repl->file_count > 0)
        return;
    json_t *request = json_pack("{s:s}", "op", "repl.follow"), *result = json_object();
    if (ask_once(repl, request, result, NULL) == MD_OK)
        rebuild(repl, NULL);
    json_decref(request);
    json_decref(result);
    drop_wishes(repl);
}

enum md_status md_repl_ask(struct md_repl *repl, json_t *request,
                           const struct md_repl_output *output, json_t *result,
                           struct md_error *err)
{
    repl->output = output;
    follow(repl);
    enum md_status status = ask_once(repl, request, result, err);
    if (status == MD_OK && repl->reset)
        drop_files(repl);
    if (status == MD_OK && repl->staged.name[0] != '\0')
        status = apply_staged(repl, err);
    else if (status == MD_OK && repl->reset)
        status = rebuild(repl, err);
    if (status == MD_OK && repl->compare != NULL)
        status = compare(repl, request, result, err);
    drop_wishes(repl);
    repl->output = NULL;
    return status;
}
