/*
 * From app.alerts.notify, as lua/moondial/notify.lua has checked and completed it, to the settings
 * of the notifier. Everything is borrowed from Lua, which keeps it while it is read, or lives in a
 * userdata on the stack; the settings are then copied.
 *
 * A receiver of kind file writes below the state folder or a folder of write_paths, and nowhere
 * else: its folder is resolved here, and links are not followed when it is opened.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/notify.h"

enum { LIST_MAX = 10000 };

/* Zeroed memory that lasts as long as the stack does. */
static void *scratch(lua_State *L, size_t count, size_t size)
{
    luaL_checkstack(L, 8, "alerts.notify");
    void *memory = lua_newuserdata(L, count * size + 1);
    memset(memory, 0, count * size + 1);
    lua_insert(L, 1);
    return memory;
}

/* Pushes field `name`, a list, and returns its length. */
static int push_list(lua_State *L, const char *name)
{
    if (!md__field_table(L, -1, name))
        lua_newtable(L);
    int count = (int)lua_objlen(L, -1);
    if (count > LIST_MAX)
        luaL_error(L, "app.lua: alerts.notify: more than %d %s", LIST_MAX, name);
    luaL_checkstack(L, 8, "alerts.notify");
    return count;
}

static const char *const *read_texts(lua_State *L, const char *name, int *count)
{
    *count = push_list(L, name);
    const char **texts = scratch(L, (size_t)*count, sizeof *texts);
    for (int i = 0; i < *count; i++) {
        lua_rawgeti(L, -1, i + 1);
        texts[i] = luaL_checkstring(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return texts;
}

static struct md_notify_match read_match(lua_State *L, const char *name)
{
    int count = push_list(L, name);
    struct md_alert_label *texts = scratch(L, (size_t)count, sizeof *texts);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        texts[i].name = md__field_string(L, -1, "name", NULL);
        texts[i].value = md__field_string(L, -1, "value", NULL);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return (struct md_notify_match){count, texts};
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool is_below(const char *folder, const char *allowed)
{
    char resolved[PATH_MAX];
    if (*allowed == '\0' || realpath(allowed, resolved) == NULL)
        return false;
    size_t length = strlen(resolved);
    if (length == 1)
        return true;
    return strncmp(folder, resolved, length) == 0 &&
           (folder[length] == '/' || folder[length] == '\0');
}

static bool may_write(const struct md_config *config, const char *folder)
{
    size_t i;
    json_t *allowed;
    if (is_below(folder, md_config_string(config, "state")))
        return true;
    json_array_foreach(json_object_get(md__config_values(config), "write_paths"), i, allowed)
    {
        if (json_is_string(allowed) && is_below(folder, json_string_value(allowed)))
            return true;
    }
    return false;
}

/* A path as the notifier opens it; NULL: there is no state folder that it could lie in. */
static const char *resolve_path(lua_State *L, const char *path)
{
    const struct md_config *config = md__state(L)->config;
    const char *state = md_config_string(config, "state");
    char whole[PATH_MAX], folder[PATH_MAX];
    if (path[0] != '/' && state[0] == '\0')
        return NULL;
    int length = path[0] == '/' ? snprintf(whole, sizeof whole, "%s", path)
                                : snprintf(whole, sizeof whole, "%s/%s", state, path);
    char *slash = strrchr(whole, '/');
    if (length >= (int)sizeof whole || slash[1] == '\0')
        luaL_error(L, "app.lua: alerts.notify: \"%s\" is no path of a file", path);
    const char *file = path + strlen(path) - strlen(slash + 1);
    *slash = '\0';
    if (realpath(slash == whole ? "/" : whole, folder) == NULL)
        luaL_error(L, "app.lua: alerts.notify: the folder of \"%s\" does not exist", path);
    if (!may_write(config, folder))
        luaL_error(L,
                   "app.lua: alerts.notify: \"%s\" is neither below the state folder nor below "
                   "config.write_paths",
                   path);
    size_t bytes = strlen(folder) + strlen(file) + 2;
    char *resolved = scratch(L, bytes, 1);
    snprintf(resolved, bytes, "%s/%s", folder, file);
    return resolved;
}

/* ---- receivers ------------------------------------------------------------------------------- */

static enum md_notify_kind read_kind(lua_State *L)
{
    static const char *const names[] = {[MD_NOTIFY_ALERTMANAGER] = "alertmanager",
                                        [MD_NOTIFY_WEBHOOK] = "webhook",
                                        [MD_NOTIFY_FILE] = "file",
                                        [MD_NOTIFY_STDOUT] = "stdout"};
    const char *kind = md__field_string(L, -1, "kind", NULL);
    for (int i = 0; i <= MD_NOTIFY_STDOUT; i++) {
        if (strcmp(kind, names[i]) == 0)
            return (enum md_notify_kind)i;
    }
    return (enum md_notify_kind)luaL_error(L, "no kind of receiver: %s", kind);
}

/* The receiver on top of the stack; false: it is left out. */
static bool read_receiver(lua_State *L, struct md_notify_receiver *receiver)
{
    *receiver = (struct md_notify_receiver){
        .kind = read_kind(L),
        .name = md__field_string(L, -1, "name", NULL),
        .target = md__field_string(L, -1, "target", NULL),
        .url = md__field_string(L, -1, "url", NULL),
        .timeout_ms = (int)md__field_number(L, -1, "timeout_ms", 10000),
        .send_resolved = md__field_bool(L, -1, "send_resolved", true),
        .resend_ms = (int64_t)md__field_number(L, -1, "resend_ms", 60000),
        .group_wait_ms = (int64_t)md__field_number(L, -1, "group_wait_ms", 30000),
        .group_interval_ms = (int64_t)md__field_number(L, -1, "group_interval_ms", 300000),
        .repeat_ms = (int64_t)md__field_number(L, -1, "repeat_ms", 14400000),
        .alerts_max = (int)md__field_number(L, -1, "alerts_max", 0),
    };
    receiver->headers = read_texts(L, "headers", &receiver->header_count);
    receiver->group_by = read_texts(L, "group_by", &receiver->group_by_count);
    receiver->match = read_match(L, "matchers");
    if (receiver->kind != MD_NOTIFY_FILE)
        return true;
    receiver->url = resolve_path(L, receiver->url);
    if (receiver->url == NULL)
        md_log(MD_LOG_INFO, "notify",
               "receiver %s is left out: there is no state folder for its file", receiver->name);
    return receiver->url != NULL;
}

static void read_receivers(lua_State *L, struct md_notify_settings *settings)
{
    int count = push_list(L, "receivers");
    struct md_notify_receiver *receivers = scratch(L, (size_t)count, sizeof *receivers);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        settings->receiver_count += read_receiver(L, &receivers[settings->receiver_count]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    settings->receivers = receivers;
}

static void read_inhibitions(lua_State *L, struct md_notify_settings *settings)
{
    int count = push_list(L, "inhibition");
    struct md_notify_inhibition *rules = scratch(L, (size_t)count, sizeof *rules);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        rules[i].source = read_match(L, "source");
        rules[i].target = read_match(L, "target");
        rules[i].equal = read_texts(L, "equal", &rules[i].equal_count);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    settings->inhibitions = rules;
    settings->inhibition_count = count;
}

static void read_windows(lua_State *L, struct md_notify_settings *settings)
{
    int count = push_list(L, "maintenance");
    struct md_notify_window *windows = scratch(L, (size_t)count, sizeof *windows);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        windows[i] = (struct md_notify_window){
            .name = md__field_string(L, -1, "name", NULL),
            .days = (unsigned)md__field_number(L, -1, "days", 127),
            .from_min = (int)md__field_number(L, -1, "from_min", 0),
            .to_min = (int)md__field_number(L, -1, "to_min", 0),
            .timezone = md__field_string(L, -1, "timezone", "UTC"),
            .match = read_match(L, "matchers"),
        };
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    settings->windows = windows;
    settings->window_count = count;
}

/* Where people reach us when nothing else is said. */
static const char *own_url(lua_State *L)
{
    const struct md_config *config = md__state(L)->config;
    const char *listen = md_config_string(config, "listen");
    const char *scheme = md_config_string(config, "tls_cert")[0] != '\0' ? "https" : "http";
    if (listen[0] != '\0')
        lua_pushfstring(L, "%s://%s", scheme, listen);
    else
        lua_pushfstring(L, "%s://%s:%d", scheme, md_config_string(config, "host"),
                        (int)md_config_int(config, "port"));
    lua_insert(L, 1); /* kept for as long as it is borrowed */
    return lua_tostring(L, 1);
}

struct md_notify_config *md__notify_read(lua_State *L, struct md_script *script)
{
    struct md_notify_settings settings = {0};
    struct md_notify_config *config;
    struct md_error err;
    (void)script;
    settings.external_url = md__field_string(L, -1, "external_url", "");
    if (settings.external_url[0] == '\0')
        settings.external_url = own_url(L);
    read_receivers(L, &settings);
    read_inhibitions(L, &settings);
    read_windows(L, &settings);
    if (md_notify_config_new(&settings, &config, &err) != MD_OK)
        luaL_error(L, "app.lua: alerts.notify: %s", err.text);
    return config;
}
