/*
 * md.dict: values that all states share. Methods are on a handle that is only a name, so that it
 * can be made at the top of a file. fetch is in lua/moondial/dict.lua, on top of the flight here:
 * only Lua can call a function that waits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/dict.h"
#include "script/repl_internal.h"

enum { SPACE_MAX = 64, PRIVATE_SPACE_MAX = SPACE_MAX + 16 };

/* Two tasks without deadlines that make values for each other must not wait for ever. */
static const int64_t join_ns_max = 120000000000;

struct dict {
    char space[SPACE_MAX];
};

static const struct md__class dict_class;

/* ---- arguments ------------------------------------------------------------------------------- */

/*
 * What a private session of the REPL writes goes to a space of its own, which lies over the live
 * one: it is read first. No script's space begins with this byte.
 */
static const char private_mark = '\1';
static const int64_t private_ttl_ms =
    3600000; /* when nobody removes it, the session is long over */

static void name_space(lua_State *L, const struct dict *dict, bool is_private, char *name)
{
    if (is_private)
        snprintf(name, PRIVATE_SPACE_MAX, "%c%d %s", private_mark, md__state(L)->repl->number,
                 dict->space);
    else
        snprintf(name, PRIVATE_SPACE_MAX, "%s", dict->space);
}

/* The key in argument 2 (a string or a number) in the live or the session's own space. */
static void make_key(lua_State *L, bool is_private, struct md__key_text *key)
{
    size_t length;
    char space[PRIVATE_SPACE_MAX];
    const struct dict *dict = md__object_check(L, 1, &dict_class);
    const char *name = luaL_checklstring(L, 2, &length);
    name_space(L, dict, is_private, space);
    if (!md__dict_key(key, space, name, length))
        luaL_argerror(L, 2, "a key is at most 190 bytes, without NUL");
}

static struct md__dicts *check_key(lua_State *L, const char *method, struct md__key_text *key)
{
    make_key(L, md__is_private(L), key);
    md__check_acting(L, method);
    return md__state(L)->script->dicts;
}

/* The value that the session sees: its own, else the live one. */
static struct md__value *get_value(lua_State *L, struct md__dicts *dicts,
                                   const struct md__key_text *key)
{
    struct md__value *value = md__dict_get(dicts, key, NULL);
    if (value == NULL && md__is_private(L)) {
        struct md__key_text live;
        make_key(L, false, &live);
        value = md__dict_get(dicts, &live, NULL);
    }
    return value;
}

/* What add and incr change begins as what is seen. */
static void seed(lua_State *L, struct md__dicts *dicts, const struct md__key_text *key)
{
    if (!md__is_private(L))
        return;
    struct md__value *value = get_value(L, dicts, key);
    if (value != NULL) {
        md__dict_set(dicts, key, value, NULL, private_ttl_ms, NULL);
        md__value_unref(value);
    }
}

/* A shareable copy of the value at index; misuse raises, NULL: too large, err says so. The caller's
 * to drop at once after use. */
static struct md__value *check_value(lua_State *L, int index, struct md_error *err)
{
    struct md__value *value;
    size_t bytes_max = md__dicts_bytes_max(md__state(L)->script->dicts);
    luaL_checkany(L, index);
    if (lua_isnil(L, index))
        luaL_argerror(L, index, "nil cannot be stored (use delete)");
    enum md_status status = md__value_new(L, index, bytes_max, &value, err);
    if (status == MD_ERR_TOO_LARGE)
        return NULL;
    if (status != MD_OK)
        luaL_argerror(L, index, lua_pushfstring(L, "%s", err->text));
    return value;
}

static int return_status(lua_State *L, enum md_status status, const struct md_error *err)
{
    if (status != MD_OK)
        return md__return_error(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

static int push_protected(lua_State *L)
{
    md__value_push(L, lua_touserdata(L, 1));
    return 1;
}

/* Pushes value and drops it, also when pushing raises; push_protected is on top, from before there
 * was anything to lose. */
static int push_and_drop(lua_State *L, struct md__value *value)
{
    lua_pushlightuserdata(L, value);
    int status = lua_pcall(L, 1, 1, 0);
    md__value_unref(value);
    return status == 0 ? 1 : lua_error(L);
}

/* ---- methods --------------------------------------------------------------------------------- */

static int dict_get(lua_State *L)
{
    struct md__key_text key;
    struct md__dicts *dicts = check_key(L, "md.dict.get", &key);
    lua_pushcfunction(L, push_protected);
    struct md__value *value = get_value(L, dicts, &key);
    return value != NULL ? push_and_drop(L, value) : 0;
}

static int dict_set(lua_State *L)
{
    struct md__key_text key;
    struct md_error err;
    struct md__dicts *dicts = check_key(L, "md.dict.set", &key);
    lua_Number ttl_s = luaL_optnumber(L, 4, 0);
    luaL_argcheck(L, ttl_s >= 0 && ttl_s < 1e9, 4, "seconds to live");
    int64_t ttl_ms = ttl_s == 0 && md__is_private(L) ? private_ttl_ms : (int64_t)(ttl_s * 1000);
    struct md__value *value = check_value(L, 3, &err);
    if (value == NULL)
        return md__return_error(L, &err);
    enum md_status status = md__dict_set(dicts, &key, value, NULL, ttl_ms, &err);
    md__value_unref(value);
    return return_status(L, status, &err);
}

/* True when the key was absent. */
static int dict_add(lua_State *L)
{
    bool added;
    struct md__key_text key;
    struct md_error err;
    struct md__dicts *dicts = check_key(L, "md.dict.add", &key);
    seed(L, dicts, &key);
    struct md__value *value = check_value(L, 3, &err);
    if (value == NULL)
        return md__return_error(L, &err);
    enum md_status status = md__dict_add(dicts, &key, value, &added, &err);
    md__value_unref(value);
    if (status != MD_OK)
        return md__return_error(L, &err);
    lua_pushboolean(L, added);
    return 1;
}

static int dict_incr(lua_State *L)
{
    double result;
    struct md__key_text key;
    struct md_error err;
    struct md__dicts *dicts = check_key(L, "md.dict.incr", &key);
    seed(L, dicts, &key);
    if (md__dict_incr(dicts, &key, luaL_optnumber(L, 3, 1), &result, &err) != MD_OK)
        return md__return_error(L, &err);
    lua_pushnumber(L, result);
    return 1;
}

static int dict_delete(lua_State *L)
{
    struct md__key_text key;
    struct md__dicts *dicts = check_key(L, "md.dict.delete", &key);
    lua_pushboolean(L, md__dict_delete(dicts, &key));
    return 1;
}

static void collect_key(void *context, const char *name, size_t length)
{
    md_buffer_append(context, name, length);
    md_buffer_append(context, "", 1);
}

/* Pushes an array of the names, each once: a session sees its own and the live ones. */
static void push_names(lua_State *L, const struct md_buffer *names)
{
    int count = 0;
    const char *end = names->data + names->length;
    lua_newtable(L);
    lua_newtable(L);
    for (const char *name = names->data; name != NULL && name < end; name += strlen(name) + 1) {
        lua_getfield(L, -1, name);
        bool known = lua_toboolean(L, -1);
        lua_pop(L, 1);
        if (known)
            continue;
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, name);
        lua_pushstring(L, name);
        lua_rawseti(L, -3, ++count);
    }
    lua_pop(L, 1);
}

/* All keys, as strings, in no order. */
static int dict_keys(lua_State *L)
{
    struct md_error err;
    const struct dict *dict = md__object_check(L, 1, &dict_class);
    md__check_acting(L, "md.dict.keys");
    struct md_buffer *names = md__scratch(L, (size_t)64 << 20);
    md__dict_visit(md__state(L)->script->dicts, dict->space, collect_key, names);
    if (md__is_private(L)) {
        char space[PRIVATE_SPACE_MAX];
        name_space(L, dict, true, space);
        md__dict_visit(md__state(L)->script->dicts, space, collect_key, names);
    }
    if (md_buffer_check(names, &err) != MD_OK)
        return md__return_error(L, &err);
    push_names(L, names);
    return 1;
}

/* ---- flights --------------------------------------------------------------------------------- */

/* The right and duty to compute a value; ends as abandoned with its task, or when collected. */
struct flight {
    struct md__hold hold;
    struct md__flight *flight;
};

static const struct md__class flight_class;

static void end_flight(struct flight *object, struct md__value *value, const struct md_error *why)
{
    if (object->flight == NULL)
        return;
    md__flight_end(object->flight, value, why);
    md__flight_unref(object->flight);
    object->flight = NULL;
}

static void abandon(struct md__hold *hold)
{
    end_flight((struct flight *)hold, NULL, NULL);
}

static int collect_flight(lua_State *L)
{
    struct flight *object = lua_touserdata(L, 1);
    md__unhold(&object->hold);
    end_flight(object, NULL, NULL);
    return 0;
}

/*
 * The version in argument 3. What a session has fetched for itself is of its files as they were
 * then: `room` of MD__VERSION_MAX takes a version that says which.
 */
static const char *check_version(lua_State *L, char *room)
{
    size_t length;
    const char *version = luaL_checklstring(L, 3, &length);
    const struct md__world *world = (const void *)md__state(L)->generation;
    int lead = md__is_private(L) ? snprintf(room, MD__VERSION_MAX, "%d ", world->number) : 0;
    luaL_argcheck(L, (size_t)lead + length < MD__VERSION_MAX, 3, "a version is at most 255 bytes");
    if (lead == 0)
        return version;
    strcpy(room + lead, version);
    return room;
}

/* (flight, dict, key, version, value): stores the value and hands it to those who wait. */
static int flight_finish(lua_State *L)
{
    struct md__key_text key;
    struct md_error err;
    struct flight *object = md__object_check(L, 1, &flight_class);
    lua_remove(L, 1);
    struct md__dicts *dicts = check_key(L, "md.dict.fetch", &key);
    char room[MD__VERSION_MAX];
    const char *version = check_version(L, room);
    struct md__value *value;
    enum md_status status = md__value_new(L, 4, md__dicts_bytes_max(dicts), &value, &err);
    if (status == MD_OK) {
        status = md__dict_set(dicts, &key, value, version, 0, &err);
        end_flight(object, value, NULL);
        md__value_unref(value);
    } else {
        end_flight(object, NULL, &err);
    }
    md__unhold(&object->hold);
    return return_status(L, status, &err);
}

/* (flight, err): whoever waits gets the error too. */
static int flight_fail(lua_State *L)
{
    struct md_error err;
    struct flight *object = md__object_check(L, 1, &flight_class);
    lua_settop(L, 2);
    md__take_error(L, LUA_ERRRUN, &err);
    end_flight(object, NULL, &err);
    md__unhold(&object->hold);
    return 0;
}

struct joining {
    struct md_wait wait;
    struct md__flight *flight;
    struct md__value *value;
};

static enum md_status join_block(struct md_wait *wait, struct md_script *script,
                                 int64_t deadline_ns, struct md_error *err)
{
    struct joining *joining = (struct joining *)wait;
    int64_t timeout_ns = join_ns_max;
    if (deadline_ns != 0) {
        int64_t left_ns = deadline_ns - md_monotonic_ns(script->clock);
        timeout_ns = left_ns < 0 ? 0 : left_ns < join_ns_max ? left_ns : join_ns_max;
    }
    return md__flight_wait(joining->flight, timeout_ns, &joining->value, err);
}

static int join_finish(lua_State *L, struct md_wait *wait)
{
    struct joining *joining = (struct joining *)wait;
    if (joining->value == NULL) {
        lua_pushliteral(L, "again");
        return 1;
    }
    lua_pushliteral(L, "value");
    md__value_push(L, joining->value);
    return 2;
}

static void join_drop(struct md_wait *wait)
{
    struct joining *joining = (struct joining *)wait;
    md__value_unref(joining->value);
    md__flight_unref(joining->flight);
    free(joining);
}

static int wait_for(lua_State *L, struct md__flight *flight)
{
    struct joining *joining = calloc(1, sizeof *joining);
    if (joining == NULL) {
        md__flight_unref(flight);
        return luaL_error(L, "not enough memory");
    }
    joining->wait = (struct md_wait){.block = join_block, .finish = join_finish, .drop = join_drop};
    joining->flight = flight;
    return md__yield(L, &joining->wait);
}

/* Whether this task itself is making the value: waiting for it would never end. */
static bool is_own_flight(const struct md__task *task, const struct md__flight *flight)
{
    for (struct md__hold *hold = task->holds; hold != NULL; hold = hold->next) {
        if (hold->release == abandon && ((struct flight *)hold)->flight == flight)
            return true;
    }
    return false;
}

/* Pushes "value" and the stored value; false when there is none. */
static bool push_stored(lua_State *L, struct md__dicts *dicts, const struct md__key_text *key,
                        const char *version)
{
    lua_pushliteral(L, "value");
    lua_pushcfunction(L, push_protected);
    struct md__value *value = md__dict_get(dicts, key, version);
    if (value == NULL)
        lua_pop(L, 2);
    else
        push_and_drop(L, value);
    return value != NULL;
}

/* Leaves the object with the flight when it is this task's to fly; waits for it otherwise. */
static int join(lua_State *L, struct md__dicts *dicts, const struct md__key_text *key,
                const char *version, struct flight *object)
{
    bool runs;
    struct md__flight *flight = md__flight_join(dicts, key, version, &runs);
    if (flight == NULL)
        return luaL_error(L, "not enough memory");
    if (!runs && is_own_flight(md__state(L)->task, flight)) {
        md__flight_unref(flight);
        return luaL_error(L, "md.dict.fetch: this value is being made by this very task");
    }
    if (!runs)
        return wait_for(L, flight);
    object->flight = flight;
    /* It may have been stored since we looked. */
    if (!push_stored(L, dicts, key, version))
        return 2;
    end_flight(object, NULL, NULL);
    return 2;
}

/* (dict, key, version) -> "value", value | "run", flight | "again" | nil, err */
static int fetch_begin(lua_State *L)
{
    struct md__key_text key;
    struct md__dicts *dicts = check_key(L, "md.dict.fetch", &key);
    char room[MD__VERSION_MAX];
    const char *version = check_version(L, room);
    lua_settop(L, 3);
    if (push_stored(L, dicts, &key, version))
        return 2;
    lua_pushliteral(L, "run");
    struct flight *object = md__object_new(L, &flight_class, sizeof *object);
    md__hold(L, &object->hold);
    object->hold.release = abandon;
    return join(L, dicts, &key, version, object);
}

/* ---- the binding ----------------------------------------------------------------------------- */

static const luaL_Reg dict_methods[] = {
    {"get", dict_get},       {"set", dict_set},   {"add", dict_add}, {"incr", dict_incr},
    {"delete", dict_delete}, {"keys", dict_keys}, {NULL, NULL}};
static const luaL_Reg flight_methods[] = {
    {"__gc", collect_flight}, {"finish", flight_finish}, {"fail", flight_fail}, {NULL, NULL}};

static const struct md__class dict_class = {.name = "dict", .methods = dict_methods};
static const struct md__class flight_class = {.name = "flight", .methods = flight_methods};

static int dict_new(lua_State *L)
{
    size_t length;
    const char *space = luaL_checklstring(L, 1, &length);
    bool legal = length > 0 && length < SPACE_MAX && strlen(space) == length;
    luaL_argcheck(L, legal && space[0] != private_mark, 1, "a name of 1 to 63 bytes");
    struct dict *dict = md__object_new(L, &dict_class, sizeof *dict);
    snprintf(dict->space, sizeof dict->space, "%s", space);
    return 1;
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {{"dict", dict_new}, {NULL, NULL}};
    static const luaL_Reg internals[] = {{"fetch_begin", fetch_begin}, {NULL, NULL}};
    (void)script;
    md__class_new(L, &dict_class);
    md__class_new(L, &flight_class);
    luaL_register(L, NULL, functions);
    lua_newtable(L);
    luaL_register(L, NULL, internals);
    md__class_push_methods(L, &dict_class);
    lua_setfield(L, -2, "methods");
    md__loaded_set(L, "moondial.native_dict");
}

static enum md_status start(struct md_script *script, struct md_error *err)
{
    size_t bytes_max = (size_t)md_config_int(script->config, "dict_bytes_max");
    return md__dicts_new(bytes_max, script->clock, &script->dicts, err);
}

static void fini(struct md_script *script)
{
    md__dicts_delete(script->dicts);
}

const struct md__binding md__binding_dict = {
    .name = "dict", .bind = bind, .start = start, .fini = fini};
