/*
 * `moondial check`: every Lua file of a folder is compiled, then app.lua is loaded in a scratch
 * state where acting calls raise, then what it has loaded is searched for undeclared names and
 * misspelt ones (lua/moondial/lint.lua). All mistakes that can be found are reported, not only the
 * first.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "script/alerts.h"
#include "script/config_internal.h"
#include "script/generation.h"

enum { RELATIVE_BYTES = 1024, PATH_BYTES = 4096 + RELATIVE_BYTES, FOLDERS_MAX = 8 };

static const int64_t load_budget_ns = 10000000000;

struct checking {
    struct md_script *script;
    struct md_generation generation; /* never served */
    struct md__state *state;
    void (*report)(void *context, const char *line);
    void *context;
    enum md_status first; /* the code of the first mistake */
    int mistakes;
    char last[256]; /* the line reported last */
};

static void report(struct checking *checking, enum md_status code, const char *text)
{
    char line[1024];
    if (checking->mistakes++ == 0)
        checking->first = code;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, text);
        checking->report(checking->context, line);
        snprintf(checking->last, sizeof checking->last, "%.255s", line);
        text += length + (text[length] == '\n');
    }
}

/* Runs function as md__protect does, but reports the message whole: it may have many lines. */
static bool run(struct checking *checking, lua_CFunction function, void *argument)
{
    lua_State *L = checking->state->L;
    struct md_error err;
    struct md__state *before = md__state_running(checking->state);
    int status = lua_cpcall(L, function, argument);
    md__state_running(before);
    if (status == 0)
        return true;
    if (lua_type(L, -1) == LUA_TSTRING) {
        report(checking, MD_ERR_SCRIPT, lua_tostring(L, -1));
        lua_pop(L, 1);
    } else {
        md__take_error(L, status, &err);
        report(checking, err.code, err.text);
    }
    return false;
}

/* ---- one file at a time ---------------------------------------------------------------------- */

struct file {
    struct checking *checking;
    const char *relative;
};

static int compile(lua_State *L)
{
    const struct file *file = lua_touserdata(L, 1);
    md__compile(L, file->checking->generation.sources, file->relative);
    return 0;
}

static void check_folder(struct checking *checking, const char *relative, int depth);

static void check_entry(struct checking *checking, const char *relative, int depth)
{
    char path[PATH_BYTES];
    struct stat status;
    struct file file = {checking, relative};
    size_t length = strlen(relative);
    snprintf(path, sizeof path, "%s/%s", checking->script->dir, relative);
    if (stat(path, &status) != 0)
        return;
    if (S_ISDIR(status.st_mode))
        check_folder(checking, relative, depth + 1);
    else if (length > 4 && strcmp(relative + length - 4, ".lua") == 0)
        run(checking, compile, &file);
}

static void check_folder(struct checking *checking, const char *relative, int depth)
{
    char path[PATH_BYTES], entry_path[RELATIVE_BYTES];
    struct dirent **entries;
    snprintf(path, sizeof path, "%s/%s", checking->script->dir, relative);
    int count = depth < FOLDERS_MAX ? scandir(path, &entries, NULL, alphasort) : -1;
    for (int i = 0; i < count; i++) {
        int length = snprintf(entry_path, sizeof entry_path, "%s%s%s", relative,
                              *relative != '\0' ? "/" : "", entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && length < (int)sizeof entry_path)
            check_entry(checking, entry_path, depth);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/* ---- what can be found without running ------------------------------------------------------ */

/* LuaJIT keeps this library for a require that scripts do not have. */
static void push_jit_util(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "_PRELOAD");
    lua_getfield(L, -1, "jit.util");
    lua_remove(L, -2);
    lua_pushliteral(L, "jit.util");
    lua_call(L, 1, 1);
}

static void push_probe(lua_State *L, const char *text)
{
    if (luaL_loadstring(L, text) != 0)
        lua_error(L);
}

/* Reports the list on top of the stack, "12: what", as mistakes of a file; pops it. */
static void report_list(lua_State *L, struct checking *checking, const char *relative)
{
    char line[1400];
    int count = (int)lua_objlen(L, -1);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        snprintf(line, sizeof line, "%s:%s", relative, lua_tostring(L, -1));
        if (strcmp(line, checking->last) != 0) /* what loading has run into already */
            report(checking, MD_ERR_SCRIPT, line);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void push_text(lua_State *L, struct checking *checking, const char *relative)
{
    struct md__source *source;
    if (md__sources_get(checking->generation.sources, relative, &source, NULL) == MD_OK)
        lua_pushlstring(L, source->text, source->length);
    else
        lua_pushliteral(L, "");
}

/* moondial.lint is in stack slot 2. */
static void lint_file(lua_State *L, struct checking *checking, const char *relative)
{
    lua_getfield(L, 2, "mistakes");
    push_jit_util(L);
    md__compile(L, checking->generation.sources, relative);
    md__push_globals(L);
    push_probe(L, "return x");
    push_probe(L, "x = 1");
    lua_call(L, 5, 1);
    report_list(L, checking, relative);
    lua_getfield(L, 2, "library");
    push_text(L, checking, relative);
    lua_call(L, 1, 1);
    report_list(L, checking, relative);
}

/* Names of the settings: those that config.lua declares as a list, the runtime's as a set. */
static void push_settings(lua_State *L, const struct md_config *config)
{
    int builtin = md__config_builtin_count();
    lua_newtable(L);
    for (int i = builtin; i < config->count; i++) {
        lua_pushstring(L, config->keys[i].name);
        lua_rawseti(L, -2, i - builtin + 1);
    }
    lua_newtable(L);
    for (int i = 0; i < builtin; i++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, config->keys[i].name);
    }
}

/* The texts of all files that were loaded are a list in stack slot 4. */
static void lint_settings(lua_State *L, struct checking *checking)
{
    lua_getfield(L, 2, "settings");
    push_settings(L, checking->script->config);
    lua_pushvalue(L, 4);
    push_text(L, checking, "config.lua");
    lua_call(L, 4, 1);
    report_list(L, checking, "config.lua");
}

static int lint(lua_State *L)
{
    struct checking *checking = lua_touserdata(L, 1);
    char relative[MD__MODULE_FILE_MAX];
    checking->state->loading = true;
    md__require(L, "moondial.lint");
    lua_getfield(L, 2, "modules");
    lua_getfield(L, LUA_REGISTRYINDEX, md__loaded_key);
    lua_call(L, 1, 1);
    lua_newtable(L);
    int count = (int)lua_objlen(L, 3);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        if (md__module_find(checking->generation.sources, lua_tostring(L, -1), relative)) {
            lint_file(L, checking, relative);
            push_text(L, checking, relative);
            lua_rawseti(L, 4, (int)lua_objlen(L, 4) + 1);
        }
        lua_settop(L, 4);
    }
    lint_settings(L, checking);
    return 0;
}

/* ---- all together ---------------------------------------------------------------------------- */

static void check_models(struct checking *checking, const struct md_generation *generation)
{
    char line[PATH_BYTES];
    struct stat status;
    for (int i = 0; i < generation->model_count; i++) {
        const struct md__model_entry *model = &generation->models[i];
        snprintf(line, sizeof line, "app.lua: models.%.64s: there is no %.1000s", model->name,
                 model->given);
        if (!model->optional && stat(model->path, &status) != 0)
            report(checking, MD_ERR_NOT_FOUND, line);
    }
}

static void check_app(struct checking *checking)
{
    struct md_generation *generation = &checking->generation;
    md__budget_begin(checking->state, load_budget_ns);
    if (run(checking, md__app_load, NULL) && run(checking, md__app_read, generation))
        check_models(checking, generation);
    md__budget_begin(checking->state, load_budget_ns); /* a file that never ends has used it up */
    run(checking, lint, checking);
}

static enum md_status check_all(struct checking *checking, struct md_error *err)
{
    enum md_status status = md__state_new(checking->script, &checking->generation, MD__STATE_CHECK,
                                          &checking->state, err);
    if (status != MD_OK)
        return status;
    check_folder(checking, "", 0);
    if (checking->mistakes == 0)
        check_app(checking);
    md__state_delete(checking->state);
    if (checking->mistakes == 0)
        return MD_OK;
    return md_fail(err, checking->first, "%d mistake%s in %.150s", checking->mistakes,
                   checking->mistakes > 1 ? "s" : "", checking->script->dir);
}

enum md_status md_script_check(const struct md_script_options *options,
                               void (*report_line)(void *context, const char *line), void *context,
                               struct md_error *err)
{
    struct md_script script = {.clock = options->clock,
                               .config = options->config,
                               .dir = (char *)options->dir,
                               .lib_dir = (char *)options->lib_dir,
                               .library = md__sources_new(options->lib_dir, false)};
    struct checking checking = {.script = &script, .report = report_line, .context = context};
    struct md_generation *generation = &checking.generation;
    generation->script = &script;
    generation->config = options->config;
    generation->sources = md__sources_new(options->dir, true);
    md_arena_init(&generation->arena, (size_t)16 << 20);
    enum md_status status = script.library != NULL && generation->sources != NULL
                                ? check_all(&checking, err)
                                : md_fail(err, MD_ERR_MEMORY, "no memory to check a folder");
    md__alerts_release(generation);
    md_arena_fini(&generation->arena);
    md__sources_unref(generation->sources);
    md__sources_unref(script.library);
    return status;
}
