/*
 * Configuration: the keys, their types, their values; see config.h. Where values come from is in
 * config_file.c and config_flags.c. Values are kept as JSON, which has the types that Lua data and
 * the command line have in common.
 */
#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_in.h"
#include "base/json_out.h"
#include "script/config_internal.h"
#include "script/internal.h"

enum { KEYS_MAX = 500 };

/* ---- what the runtime declares --------------------------------------------------------------- */

/* Columns: name, default as JSON, a change needs a restart, secret, help. */
#define MD_CONFIG_KEYS(X)                                                                          \
    X(host, "\"127.0.0.1\"", true, false, "address to listen on")                                  \
    X(port, "8000", true, false, "port to listen on; 0: any free one")                             \
    X(listen, "\"\"", true, false, "ADDR:PORT, instead of host and port")                          \
    X(insecure, "false", true, false, "allow another address than loopback without an API key")    \
    X(http_threads, "64", true, false, "requests and streams served at a time, less 8")            \
    X(connections_max, "10000", true, false, "client connections open at a time")                  \
    X(body_bytes_max, "8388608", true, false, "largest request body, unless a route says more")    \
    X(http_bytes_max, "536870912", true, false, "bytes of all bodies and answers in progress")     \
    X(response_bytes_max, "67108864", true, false, "largest response body")                        \
    X(request_timeout_ms, "30000", true, false, "a request answers 504 after this")                \
    X(drain_ms_max, "10000", true, false, "how long what is in progress may take at the end")      \
    X(api_key, "\"\"", true, true, "clients must send it as X-API-Key or bearer token")            \
    X(api_key_file, "\"\"", true, false, "a file that holds the API key")                          \
    X(cors_origins, "\"\"", true, false, "origins allowed by CORS, separated by commas")           \
    X(rate_limit_loopback, "false", true, false, "rate limits hold for loopback clients too")      \
    X(tls_cert, "\"\"", true, false, "PEM file with the certificate chain: serve HTTPS")           \
    X(tls_key, "\"\"", true, false, "PEM file with the certificate's key, without passphrase")     \
    X(state, "\"\"", true, false, "folder for what outlives the process; empty: nothing does")     \
    X(control, "\"\"", true, false, "the control socket; empty: control.sock in the state folder") \
    X(save_interval_s, "5", true, false, "a crash loses at most this much of the feed")            \
    X(retention_days, "30", true, false, "how long stored forecasts and alerts are kept")          \
    X(history_bytes_max, "1073741824", true, false, "largest size of the stored history")          \
    X(device, "\"auto\"", true, false, "where models run: auto, cpu, cuda, cuda:1 ...")            \
    X(precision, "\"auto\"", true, false, "of models on a GPU: auto, fp32, fp16, bf16")            \
    X(isa, "\"auto\"", true, false,                                                                \
      "instruction set of the CPU kernels: auto, portable, avx2 ...")                              \
    X(threads, "0", true, false, "threads of one inference; 0: one per core")                      \
    X(queue_max, "256", true, false, "inference calls that may wait")                              \
    X(batch_max, "0", true, false, "rows of one inference batch; 0: 32, on a GPU by its name")     \
    X(rolling_bytes_max, "536870912", true, false, "memory of each model's kept windows; 0: none") \
    X(pack_cache, "\"\"", true, false,                                                             \
      "folder for packed weights; empty: packs in the state folder, if any; off: none")            \
    X(low_memory, "false", true, false, "models take less memory and more time")                   \
    X(pack_cache_bytes_max, "2147483648", true, false, "largest size of that folder")              \
    X(states, "4", false, false, "Lua states for requests")                                        \
    X(state_tasks_max, "16", false, false, "requests that one Lua state may have begun")           \
    X(state_bytes_max, "536870912", false, false, "memory of one Lua state with its tensors")      \
    X(request_bytes_max, "268435456", false, false, "memory of one request, timer or tick")        \
    X(state_wait_ms, "5000", false, false, "how long a request waits for a free Lua state")        \
    X(handler_budget_ms, "5000", false, false, "Lua time of a request between two waits")          \
    X(job_budget_ms, "60000", false, false, "Lua time of a timer or tick between two waits")       \
    X(alert_rule_budget_ms, "500", false, false, "Lua time of an alert rule's function at a tick") \
    X(alerts_exposed_max, "1000", true, false, "alerts that /metrics shows one by one; 0: none")   \
    X(repl_budget_ms, "10000", false, false, "Lua time of an expression in the REPL")              \
    X(repl_bytes_max, "268435456", false, false, "memory of one session of the REPL")              \
    X(dict_bytes_max, "67108864", true, false, "largest size of all md.dict values")               \
    X(read_paths, "[]", false, false, "folders and files that md.file.read may read")              \
    X(write_paths, "[]", true, false, "folders that receivers of kind file may write below")       \
    X(watch, "true", true, false, "load scripts and models anew when their files change")          \
    X(watch_quiet_ms, "20", true, false, "a change is taken up when files rest this long")         \
    X(rollback_error_pct, "25", false, false,                                                      \
      "new scripts are taken back when more of their calls fail; 0: never")                        \
    X(rollback_calls_min, "20", false, false, "calls before that is judged")                       \
    X(rollback_window_s, "60", false, false, "how long after a change it is judged")               \
    X(clock_speed, "1", true, false,                                                               \
      "wall time runs this many times as fast; 0: it stands until the control op clock sets it")   \
    X(clock_origin_ms, "0", true, false, "the moment from which clock_speed counts")               \
    X(timezone, "\"UTC\"", true, false, "of times without an offset, and of calendar features")    \
    X(log_level, "\"info\"", false, false, "debug, info, warn, error, off")                        \
    X(log_format, "\"text\"", true, false, "text or json")

static const struct {
    const char *name, *value, *help;
    bool restart, secret;
} builtin_keys[] = {
#define X(key, text, needs_restart, is_secret, what)                                               \
    {.name = #key, .value = text, .help = what, .restart = needs_restart, .secret = is_secret},
    MD_CONFIG_KEYS(X)
#undef X
};

int md__config_builtin_count(void)
{
    return (int)(sizeof builtin_keys / sizeof *builtin_keys);
}

struct md__key *md__config_find(const struct md_config *config, const char *name)
{
    for (int i = 0; i < config->count; i++) {
        if (strcmp(config->keys[i].name, name) == 0)
            return &config->keys[i];
    }
    return NULL;
}

static bool is_key_name(const char *name)
{
    if (strlen(name) >= KEY_MAX || !islower((unsigned char)name[0]))
        return false;
    for (const char *at = name; *at != '\0'; at++) {
        if (!islower((unsigned char)*at) && !isdigit((unsigned char)*at) && *at != '_')
            return false;
    }
    return true;
}

/* Takes over the reference to value, also on failure. */
enum md_status md__config_add(struct md_config *config, const char *name, json_t *value,
                              const char *origin, struct md_error *err)
{
    enum md_status status = MD_OK;
    if (!is_key_name(name))
        status = md_fail(err, MD_ERR_INVALID, "\"%.80s\" is no key name (a-z, 0-9, _)", name);
    else if (config->count == KEYS_MAX)
        status = md_fail(err, MD_ERR_TOO_LARGE, "more than %d keys", KEYS_MAX);
    if (status != MD_OK) {
        json_decref(value);
        return status;
    }
    struct md__key *key = &config->keys[config->count++];
    snprintf(key->name, sizeof key->name, "%s", name);
    snprintf(key->origin, sizeof key->origin, "%s", origin);
    key->value = value;
    key->help = "";
    key->restart = false; /* what scripts declare, new states of scripts read */
    return MD_OK;
}

static enum md_status declare_builtin(struct md_config *config, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (size_t i = 0; i < sizeof builtin_keys / sizeof *builtin_keys && status == MD_OK; i++) {
        json_t *value = json_loads(builtin_keys[i].value, JSON_DECODE_ANY, NULL);
        status = md__config_add(config, builtin_keys[i].name, value, "default", err);
        struct md__key *key = &config->keys[config->count - 1];
        key->restart = builtin_keys[i].restart;
        key->secret = builtin_keys[i].secret;
        key->help = builtin_keys[i].help;
    }
    return status;
}

/* ---- types ----------------------------------------------------------------------------------- */

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    default:
        return "table";
    }
}

/* Replaces a key's value by one of the same type, taking over the reference also on failure. */
enum md_status md__config_set(struct md__key *key, json_t *value, const char *origin,
                              struct md_error *err)
{
    if (strcmp(type_name(key->value), type_name(value)) != 0) {
        enum md_status status = md_fail(err, MD_ERR_INVALID, "%s: %s must be a %s, not a %s",
                                        origin, key->name, type_name(key->value), type_name(value));
        json_decref(value);
        return status;
    }
    json_decref(key->value);
    key->value = value;
    snprintf(key->origin, sizeof key->origin, "%s", origin);
    return MD_OK;
}

json_t *md__config_number(double number)
{
    bool whole = number == floor(number) && fabs(number) < 9007199254740992.0;
    return whole ? json_integer((json_int_t)number) : json_real(number);
}

/* Text from the command line or the environment as a value of the key's type; NULL: it is not. */
static json_t *value_of_text(const struct md__key *key, const char *text)
{
    char *end;
    json_t *value = NULL;
    switch (json_typeof(key->value)) {
    case JSON_STRING:
        return json_string(text);
    case JSON_INTEGER:
    case JSON_REAL: {
        double number = strtod(text, &end);
        return *text != '\0' && *end == '\0' && isfinite(number) ? md__config_number(number) : NULL;
    }
    case JSON_TRUE:
    case JSON_FALSE:
        if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
            return json_true();
        return strcmp(text, "false") == 0 || strcmp(text, "0") == 0 ? json_false() : NULL;
    default:
        return md_json_parse(text, strlen(text), &value, NULL) == MD_OK ? value : NULL;
    }
}

enum md_status md__config_set_text(struct md__key *key, const char *text, const char *origin,
                                   struct md_error *err)
{
    json_t *value = value_of_text(key, text);
    if (value == NULL)
        return md_fail(err, MD_ERR_INVALID, "%s: \"%.80s\" is not a %s", origin, text,
                       type_name(key->value));
    return md__config_set(key, value, origin, err);
}

/* The runtime's own numbers are sizes, times and counts; config.lua may have what it likes. */
static enum md_status check_numbers(const struct md_config *config, struct md_error *err)
{
    for (size_t i = 0; i < sizeof builtin_keys / sizeof *builtin_keys; i++) {
        const struct md__key *key = &config->keys[i]; /* declared first, in this order */
        if (json_is_number(key->value) && json_number_value(key->value) < 0)
            return md_fail(err, MD_ERR_INVALID, "%s: %s must not be negative", key->origin,
                           key->name);
    }
    return MD_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum md_status load(struct md_config *config, const struct md_config_options *options,
                           struct md_error *err)
{
    enum md_status status = declare_builtin(config, err);
    if (status == MD_OK && options->dir != NULL)
        status = md__config_apply_folder(config, options->dir, err);
    if (status == MD_OK)
        status = md__config_apply_file(config, options, err);
    if (status == MD_OK)
        status = md__config_apply_env(config, options->env, err);
    if (status == MD_OK)
        status = md__config_apply_flags(config, options, err);
    if (status == MD_OK)
        status = check_numbers(config, err);
    for (int i = 0; i < config->count && status == MD_OK; i++)
        json_object_set(config->values, config->keys[i].name, config->keys[i].value);
    return status;
}

enum md_status md_config_load(const struct md_config_options *options, struct md_config **result,
                              struct md_error *err)
{
    struct md_config *config = calloc(1, sizeof *config);
    if (config == NULL)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the configuration");
    atomic_init(&config->refs, 1);
    config->keys = calloc(KEYS_MAX, sizeof *config->keys);
    config->values = json_object();
    enum md_status status = config->keys == NULL || config->values == NULL
                                ? md_fail(err, MD_ERR_MEMORY, "no memory for the configuration")
                                : md__config_keep_options(config, options, err);
    if (status == MD_OK)
        status = load(config, options, err);
    if (status != MD_OK) {
        md_config_unref(config);
        return status;
    }
    *result = config;
    return MD_OK;
}

struct md_config *md_config_ref(struct md_config *config)
{
    atomic_fetch_add(&config->refs, 1);
    return config;
}

void md_config_unref(struct md_config *config)
{
    if (config == NULL || atomic_fetch_sub(&config->refs, 1) != 1)
        return;
    for (int i = 0; i < config->count; i++)
        json_decref(config->keys[i].value);
    json_decref(config->values);
    md__config_drop_options(config);
    free(config->keys);
    free(config);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct json_t *md__config_values(const struct md_config *config)
{
    return config->values;
}

const char *md_config_string(const struct md_config *config, const char *key)
{
    const json_t *value = json_object_get(config->values, key);
    assert(json_is_string(value));
    return json_string_value(value);
}

double md_config_number(const struct md_config *config, const char *key)
{
    const json_t *value = json_object_get(config->values, key);
    assert(json_is_number(value));
    return json_number_value(value);
}

int64_t md_config_int(const struct md_config *config, const char *key)
{
    double number = md_config_number(config, key);
    if (number >= (double)INT64_MAX)
        return INT64_MAX;
    return number <= (double)INT64_MIN ? INT64_MIN : (int64_t)number;
}

bool md_config_bool(const struct md_config *config, const char *key)
{
    const json_t *value = json_object_get(config->values, key);
    assert(json_is_boolean(value));
    return json_is_true(value);
}

/* ---- showing --------------------------------------------------------------------------------- */

/* The value as JSON text, or asterisks; to be freed. */
static char *shown_value(const struct md__key *key)
{
    bool hide = key->secret && json_string_length(key->value) > 0;
    return hide ? strdup("\"***\"") : json_dumps(key->value, JSON_ENCODE_ANY | JSON_COMPACT);
}

static void describe_text(struct md_buffer *json, const char *name, const char *text)
{
    md_buffer_printf(json, ",\"%s\":", name);
    md_json_string(json, text, strlen(text));
}

enum md_status md_config_describe(const struct md_config *config, struct md_buffer *json,
                                  struct md_error *err)
{
    md_buffer_text(json, "[");
    for (int i = 0; i < config->count; i++) {
        const struct md__key *key = &config->keys[i];
        char *value = shown_value(key);
        md_buffer_printf(json, "%s{\"key\":\"%s\",\"value\":", i > 0 ? "," : "", key->name);
        md_buffer_text(json, value != NULL ? value : "null");
        describe_text(json, "origin", key->origin);
        md_buffer_text(json, key->restart ? ",\"restart\":true" : ",\"restart\":false");
        describe_text(json, "help", key->help);
        md_buffer_text(json, "}");
        free(value);
    }
    md_buffer_text(json, "]");
    return md_buffer_check(json, err);
}

enum md_status md_config_print(const struct md_config *config, struct md_buffer *text,
                               struct md_error *err)
{
    for (int i = 0; i < config->count; i++) {
        const struct md__key *key = &config->keys[i];
        char *value = shown_value(key);
        md_buffer_printf(text, "%-22s = %-24s # %s%s\n", key->name, value != NULL ? value : "",
                         key->origin, key->restart ? ", needs a restart" : "");
        free(value);
    }
    return md_buffer_check(text, err);
}
