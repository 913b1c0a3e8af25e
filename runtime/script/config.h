/*
 * Configuration: one flat set of named values. A key exists when the runtime declares it (the table
 * in config.c: listen, port, api_key, ...) or when the folder's config.lua does; its type is that
 * of its default. In rising priority its value comes from the built-in default, config.lua, the
 * --config file (a Lua file of the same form), the environment (MOONDIAL_KEY_NAME) and the command
 * line (--key-name VALUE, --key-name=VALUE, for booleans also --key-name and --no-key-name). A
 * table is written as JSON on the command line and in the environment.
 *
 * Immutable after loading: readable from any thread without a lock. Unknown flags, keys of a wrong
 * type and broken files are errors that say where and, where something similar exists, what was
 * probably meant.
 */
#ifndef MD_SCRIPT_CONFIG_H
#define MD_SCRIPT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/status.h"

struct md_config;

struct md_config_options {
    const char *dir;  /* the scripts folder; config.lua is optional; NULL: built-in keys only */
    const char *file; /* --config FILE, or NULL */
    int argc;         /* command-line flags, without the program, the subcommand and the folder */
    const char *const *argv;
    const char *const *env; /* "NAME=value" list, NULL-terminated, or NULL */
};

enum md_status md_config_load(const struct md_config_options *options, struct md_config **config,
                              struct md_error *err);
/*
 * Reads files, environment and flags as they are now, from the same places as `running` was. A key
 * whose change needs a restart keeps its running value; the names of such keys are appended to
 * `held` (separated by ", "), which may be NULL.
 */
enum md_status md_config_reload(const struct md_config *running, struct md_config **config,
                                struct md_buffer *held, struct md_error *err);
/* Same keys, same values. */
bool md_config_equal(const struct md_config *a, const struct md_config *b);
struct md_config *md_config_ref(struct md_config *config);
void md_config_unref(struct md_config *config);

/* Values of keys that the runtime declares; asking for another key or type is a bug of ours
 * (assertion). */
const char *md_config_string(const struct md_config *config, const char *key);
double md_config_number(const struct md_config *config, const char *key);
int64_t md_config_int(const struct md_config *config, const char *key);
bool md_config_bool(const struct md_config *config, const char *key);

/* For show-config: one JSON array of {key, value, origin, restart, help}; secrets show as "***". */
enum md_status md_config_describe(const struct md_config *config, struct md_buffer *json,
                                  struct md_error *err);
/* The same as lines "key = value    # origin". */
enum md_status md_config_print(const struct md_config *config, struct md_buffer *text,
                               struct md_error *err);

#endif
