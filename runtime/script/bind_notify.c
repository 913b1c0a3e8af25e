/*
 * The notifier's life with the script engine, and md.alerts.silence, silences, expire.
 *
 * It is made when the first generation that declares alerts is about to serve, right after the
 * alert engine, and gets a snapshot of all alerts then and after every tick. Settings come into
 * force by the housekeeper, which only runs once the engine has been started: so the engines that
 * policy tests make tell nobody. A generation without alerts leaves nobody to be told.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/timezone.h"
#include "script/notify.h"

enum { TEXT_BYTES_MAX = 1000 };

static const size_t json_bytes_max = (size_t)16 << 20;

static struct md_notifier *notifier_of(lua_State *L)
{
    struct md_notifier *notifier = atomic_load(&md__state(L)->script->notifying->notifier);
    if (notifier == NULL)
        luaL_error(L, "md.alerts: app.lua declares no alerts");
    return notifier;
}

/* ---- md.alerts.silence, expire: written to the disk before they return ----------------------- */

struct silence_wait {
    struct md_wait base;
    struct md_notifier *notifier;
    struct md_notify_silence silence;
    struct md_notify_matchers *matchers; /* the wait's until they are taken over */
    char author[TEXT_BYTES_MAX], comment[TEXT_BYTES_MAX];
};

static enum md_status silence_block(struct md_wait *wait, struct md_script *script,
                                    int64_t deadline_ns, struct md_error *err)
{
    struct silence_wait *silencing = (struct silence_wait *)wait;
    (void)script, (void)deadline_ns;
    enum md_status status = md_notifier_silence_add(silencing->notifier, &silencing->silence, err);
    if (status == MD_OK)
        silencing->matchers = NULL;
    return status;
}

static int silence_finish(lua_State *L, struct md_wait *wait)
{
    lua_pushstring(L, ((struct silence_wait *)wait)->silence.id);
    return 1;
}

static void silence_drop(struct md_wait *wait)
{
    struct silence_wait *silencing = (struct silence_wait *)wait;
    md_notify_matchers_delete(silencing->matchers);
    free(silencing);
}

/* { label = text } as an array in a userdata that is left on the stack. */
static struct md_alert_label *read_matchers(lua_State *L, int *count)
{
    if (!md__field_table(L, 1, "matchers"))
        luaL_error(L, "matchers is missing");
    *count = 0;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
        ++*count;
    struct md_alert_label *texts = lua_newuserdata(L, (size_t)*count * sizeof *texts + 1);
    int at = 0;
    for (lua_pushnil(L); lua_next(L, -3) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "matchers: names and values must be strings");
        texts[at++] = (struct md_alert_label){lua_tostring(L, -2), lua_tostring(L, -1)};
    }
    return texts;
}

static const char *short_text(lua_State *L, const char *name, const char *otherwise)
{
    const char *text = md__field_string(L, 1, name, otherwise);
    if (strlen(text) >= TEXT_BYTES_MAX)
        luaL_error(L, "%s: at most %d bytes", name, TEXT_BYTES_MAX - 1);
    return text;
}

/* md.alerts.silence { matchers =, minutes =, author =, comment =, starts_ms =, ends_ms = } -> id */
static int alerts_silence(lua_State *L)
{
    struct md_error err;
    int count;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    md__check_changing(L, "md.alerts.silence");
    struct silence_wait checked = {.base = {.block = silence_block,
                                            .finish = silence_finish,
                                            .drop = silence_drop,
                                            .once = true},
                                   .notifier = notifier_of(L)};
    const char *author = short_text(L, "author", NULL), *comment = short_text(L, "comment", "");
    double now_ms = (double)md_now_ms(md__state(L)->script->clock);
    double minutes = md__field_number(L, 1, "minutes", 60);
    checked.silence.starts_ms = md__field_ms(L, 1, "starts_ms", now_ms);
    double ends_ms = (double)checked.silence.starts_ms + minutes * 60000;
    luaL_argcheck(L, fabs(ends_ms) < MD__MS_MAX, 1, "minutes: too many");
    checked.silence.ends_ms = md__field_ms(L, 1, "ends_ms", ends_ms);
    const struct md_alert_label *texts = read_matchers(L, &count);
    struct silence_wait *silencing = malloc(sizeof *silencing);
    if (silencing == NULL)
        return luaL_error(L, "not enough memory");
    *silencing = checked;
    snprintf(silencing->author, sizeof silencing->author, "%s", author);
    snprintf(silencing->comment, sizeof silencing->comment, "%s", comment);
    silencing->silence.author = silencing->author;
    silencing->silence.comment = silencing->comment;
    enum md_status status = md_notify_matchers_new(texts, count, &silencing->matchers, &err);
    silencing->silence.matchers = silencing->matchers;
    if (status == MD_OK)
        return md__yield(L, &silencing->base);
    silence_drop(&silencing->base);
    return md__return_error(L, &err);
}

struct expire_wait {
    struct md_wait base;
    struct md_notifier *notifier;
    char id[64];
};

static enum md_status expire_block(struct md_wait *wait, struct md_script *script,
                                   int64_t deadline_ns, struct md_error *err)
{
    struct expire_wait *expiring = (struct expire_wait *)wait;
    (void)script, (void)deadline_ns;
    return md_notifier_silence_expire(expiring->notifier, expiring->id, err);
}

/* md.alerts.expire(id) -> true | nil, err */
static int alerts_expire(lua_State *L)
{
    const char *id = luaL_checkstring(L, 1);
    md__check_changing(L, "md.alerts.expire");
    struct md_notifier *notifier = notifier_of(L);
    struct expire_wait *expiring = calloc(1, sizeof *expiring);
    if (expiring == NULL)
        return luaL_error(L, "not enough memory");
    expiring->base = (struct md_wait){
        .block = expire_block, .finish = md__wait_true, .drop = md__wait_free, .once = true};
    expiring->notifier = notifier;
    snprintf(expiring->id, sizeof expiring->id, "%s", id);
    return md__yield(L, &expiring->base);
}

/* ---- md.alerts.silences ---------------------------------------------------------------------- */

struct listing {
    struct md_buffer *json;
    int64_t now_ms;
    int count;
};

static void write_text(struct md_buffer *json, const char *text)
{
    md_json_string(json, text, strlen(text));
}

static bool list_silence(void *context, const struct md_notify_silence *silence)
{
    struct listing *listing = context;
    struct md_buffer *json = listing->json;
    const char *state = listing->now_ms >= silence->ends_ms    ? "expired"
                        : listing->now_ms < silence->starts_ms ? "pending"
                                                               : "active";
    md_buffer_printf(json,
                     "%s{\"id\":\"%s\",\"state\":\"%s\",\"starts_ms\":%lld,\"ends_ms\":%lld,"
                     "\"updated_ms\":%lld,\"author\":",
                     listing->count++ > 0 ? "," : "", silence->id, state,
                     (long long)silence->starts_ms, (long long)silence->ends_ms,
                     (long long)silence->updated_ms);
    write_text(json, silence->author);
    md_buffer_text(json, ",\"comment\":");
    write_text(json, silence->comment);
    md_buffer_text(json, ",\"matchers\":{");
    for (int i = 0; i < md_notify_matchers_count(silence->matchers); i++) {
        struct md_alert_label text = md_notify_matchers_text(silence->matchers, i);
        md_buffer_text(json, i > 0 ? "," : "");
        write_text(json, text.name);
        md_buffer_text(json, ":");
        write_text(json, text.value);
    }
    md_buffer_text(json, "}}");
    return json->failed == MD_OK;
}

/* md.alerts.silences() -> list, newest first */
static int alerts_silences(lua_State *L)
{
    struct md_error err;
    md__check_acting(L, "md.alerts.silences");
    struct md_notifier *notifier = notifier_of(L);
    struct listing listing = {.json = md__scratch(L, json_bytes_max),
                              .now_ms = md_now_ms(md__state(L)->script->clock)};
    md_buffer_text(listing.json, "[");
    md_notifier_silence_visit(notifier, list_silence, &listing);
    md_buffer_text(listing.json, "]");
    enum md_status status = md_buffer_check(listing.json, &err);
    if (status == MD_OK)
        status = md__json_read(L, listing.json->data, listing.json->length, &err);
    return status == MD_OK ? 1 : md__return_error(L, &err);
}

/* ---- for the library and for md.alerts.active ------------------------------------------------ */

void md__notify_explain(lua_State *L)
{
    struct md_notifier *notifier = atomic_load(&md__state(L)->script->notifying->notifier);
    struct md_notify_suppression why = {0};
    lua_getfield(L, -1, "fingerprint");
    uint64_t fingerprint = strtoull(luaL_checkstring(L, -1), NULL, 16);
    lua_pop(L, 1);
    if (notifier != NULL)
        md_notifier_suppressed(notifier, fingerprint, &why);
    lua_getfield(L, -1, "silenced_by");
    if (why.silenced_by[0] != '\0') {
        lua_pushstring(L, why.silenced_by);
        lua_rawseti(L, -2, 1);
    }
    lua_getfield(L, -2, "inhibited_by");
    if (why.inhibited_by != 0) {
        char text[20];
        snprintf(text, sizeof text, "%016llx", (unsigned long long)why.inhibited_by);
        lua_pushstring(L, text);
        lua_rawseti(L, -2, 1);
    }
    lua_pop(L, 2);
    if (why.maintenance[0] != '\0') {
        md__set_text(L, "maintenance", why.maintenance);
    }
}

/* What is wrong with a text of the settings: notify_mistake("timezone", name), ("matcher", text,
 * label); nothing: it is well. */
static int notify_mistake(lua_State *L)
{
    struct md_error err;
    const char *kind = luaL_checkstring(L, 1), *text = luaL_checkstring(L, 2);
    enum md_status status;
    if (strcmp(kind, "timezone") == 0) {
        struct md_timezone *zone;
        status = md_timezone_new(text, &zone, &err);
        if (status == MD_OK)
            md_timezone_delete(zone);
    } else {
        struct md_alert_label matcher = {luaL_checkstring(L, 3), text};
        struct md_notify_matchers *matchers;
        status = md_notify_matchers_new(&matcher, 1, &matchers, &err);
        if (status == MD_OK)
            md_notify_matchers_delete(matchers);
    }
    if (status == MD_OK)
        return 0;
    lua_pushstring(L, err.text);
    return 1;
}

/* ---- alerts on their way ----------------------------------------------------------------------
 */

struct copying {
    struct md_notify_snapshot *snapshot;
    int64_t now_ms;
    bool failed;
};

static bool copy_alert(void *context, const struct md_alert *alert)
{
    struct copying *copying = context;
    copying->failed = !md_notify_snapshot_add(copying->snapshot, alert, copying->now_ms);
    return !copying->failed;
}

static void feed(void *context, int64_t time_ms)
{
    struct md_script *script = context;
    struct md_error err;
    struct copying copying = {.now_ms = md_now_ms(script->clock)};
    (void)time_ms;
    if (md_notify_snapshot_new(&copying.snapshot, &err) == MD_OK) {
        md_alert_live_visit(script->notifying->live, copy_alert, &copying);
        if (!copying.failed) {
            md_notifier_feed(atomic_load(&script->notifying->notifier), copying.snapshot);
            return;
        }
        md_notify_snapshot_delete(copying.snapshot);
    }
    md_log(MD_LOG_ERROR, "notify", "no memory to tell of alerts; the next tick tries again");
}

/* ---- the binding ----------------------------------------------------------------------------- */

/* Without alerts or notify: no receivers. */
static void declare(lua_State *L, struct md_script *script)
{
    struct md__notify_wanted *declared = &script->notifying->declared;
    struct md_notify_settings nobody = {0};
    struct md_error err;
    *declared = (struct md__notify_wanted){0};
    if (md__field_table(L, -1, "alerts") && md__field_table(L, -1, "notify")) {
        declared->degraded_after_ms = (int64_t)md__field_number(L, -1, "degraded_after_ms", 300000);
        declared->config = md__notify_read(L, script);
    } else if (md_notify_config_new(&nobody, &declared->config, &err) != MD_OK) {
        luaL_error(L, "app.lua: alerts.notify: %s", err.text);
    }
}

/* With the alerts as they were kept, once there is an alert engine. */
static enum md_status make_notifier(struct md_script *script, struct md_error *err)
{
    struct md__notifying *notifying = script->notifying;
    struct md_alert_listener listener = {.context = script, .ticked = feed};
    struct md_notifier *notifier;
    notifying->live = atomic_load(&script->alerts);
    if (notifying->live == NULL || atomic_load(&notifying->notifier) != NULL)
        return MD_OK;
    enum md_status status = md_notifier_new(script->clock, script->store, &notifier, err);
    if (status != MD_OK)
        return status;
    atomic_store(&notifying->notifier, notifier);
    feed(script, 0);
    md_alert_live_listen(notifying->live, &listener);
    return MD_OK;
}

static enum md_status settle(struct md_script *script, bool accepted, struct md_error *err)
{
    struct md__notifying *notifying = script->notifying;
    struct md__notify_wanted declared = notifying->declared, before;
    notifying->declared = (struct md__notify_wanted){0};
    enum md_status status = accepted ? make_notifier(script, err) : MD_OK;
    if (!accepted || status != MD_OK || declared.config == NULL) {
        md_notify_config_unref(declared.config);
        return status;
    }
    pthread_mutex_lock(&script->lock);
    before = notifying->accepted;
    notifying->accepted = declared;
    pthread_mutex_unlock(&script->lock);
    md_notify_config_unref(before.config);
    return MD_OK;
}

static enum md_status start(struct md_script *script, struct md_error *err)
{
    script->notifying = calloc(1, sizeof *script->notifying);
    return script->notifying != NULL ? MD_OK
                                     : md_fail(err, MD_ERR_MEMORY, "no memory for notifications");
}

/* No tick runs any more. */
static void fini(struct md_script *script)
{
    if (script->notifying == NULL)
        return;
    md_notifier_delete(atomic_load(&script->notifying->notifier));
    md_notify_config_unref(script->notifying->declared.config);
    md_notify_config_unref(script->notifying->accepted.config);
    free(script->notifying);
    script->notifying = NULL;
}

void md__notify_hold(struct md_script *script)
{
    struct md_notifier *notifier = atomic_load(&script->notifying->notifier);
    if (notifier != NULL)
        md_notifier_hold(notifier);
}

void md__notify_release(struct md_script *script)
{
    struct md_notifier *notifier = atomic_load(&script->notifying->notifier);
    if (notifier != NULL)
        md_notifier_release(notifier);
}

static void tell_health(void *context, const struct md_notifier_status *status)
{
    struct md_script *script = context;
    char subject[64], reason[320];
    bool failing =
        status->failing_ms > 0 && status->failing_ms >= script->notifying->degraded_after_ms;
    snprintf(subject, sizeof subject, "receiver %s", status->target);
    snprintf(reason, sizeof reason, "receiver %s has failed for %lld s, %d messages wait: %s",
             status->target, (long long)status->failing_ms / 1000, status->queued, status->failure);
    md__degraded_set(script, subject, failing ? reason : NULL);
}

static void undegrade(void *context, const struct md_notifier_status *status)
{
    char subject[64];
    snprintf(subject, sizeof subject, "receiver %s", status->target);
    md__degraded_set(context, subject, NULL);
}

static void put_in_force(struct md_script *script, struct md_notifier *notifier)
{
    struct md__notifying *notifying = script->notifying;
    struct md_error err;
    pthread_mutex_lock(&script->lock);
    struct md__notify_wanted wanted = notifying->accepted;
    notifying->accepted = (struct md__notify_wanted){0};
    pthread_mutex_unlock(&script->lock);
    if (wanted.config == NULL)
        return;
    md_notifier_visit(notifier, undegrade, script);
    notifying->degraded_after_ms = wanted.degraded_after_ms;
    if (md_notifier_set_config(notifier, wanted.config, &err) != MD_OK)
        md_log(MD_LOG_ERROR, "notify", "the new settings are not in force: %s", err.text);
    md_notify_config_unref(wanted.config);
}

static void housekeep(struct md_script *script, int64_t now_ms)
{
    struct md_notifier *notifier = atomic_load(&script->notifying->notifier);
    (void)now_ms;
    if (notifier == NULL)
        return;
    put_in_force(script, notifier);
    md_notifier_visit(notifier, tell_health, script);
}

static void bind(lua_State *L, struct md_script *script)
{
    static const luaL_Reg functions[] = {{"silence", alerts_silence},
                                         {"silences", alerts_silences},
                                         {"expire", alerts_expire},
                                         {NULL, NULL}};
    static const luaL_Reg library[] = {{"notify_mistake", notify_mistake}, {NULL, NULL}};
    (void)script;
    md__bind_table(L, "alerts", functions);
    luaL_register(L, NULL, library);
}

const struct md__binding md__binding_notify = {.name = "notify",
                                               .bind = bind,
                                               .declare = declare,
                                               .settle = settle,
                                               .start = start,
                                               .housekeep = housekeep,
                                               .fini = fini};
