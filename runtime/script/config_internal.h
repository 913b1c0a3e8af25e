/* What config.c, config_file.c and config_flags.c share. */
#ifndef MD_SCRIPT_CONFIG_INTERNAL_H
#define MD_SCRIPT_CONFIG_INTERNAL_H

#include <jansson.h>
#include <stdatomic.h>

#include "script/config.h"

enum { KEY_MAX = 64 };

struct md__key {
    char name[KEY_MAX];
    json_t *value;
    char origin[160]; /* "default", "config.lua", "flag --port" */
    bool restart, secret;
    const char *help;
};

struct md_config {
    _Atomic int refs;
    struct md__key *keys;
    int count;
    json_t *values;                   /* name: value, for scripts */
    struct md_config_options options; /* copies: to read them again */
};

/* NULL: no such key. */
struct md__key *md__config_find(const struct md_config *config, const char *name);
/* The key that somebody may have meant by name. NULL: none is near. */
const struct md__key *md__config_nearest(const struct md_config *config, const char *name);
/* These two take over the reference to value, also on failure. The type must be the key's. */
enum md_status md__config_add(struct md_config *config, const char *name, json_t *value,
                              const char *origin, struct md_error *err);
enum md_status md__config_set(struct md__key *key, json_t *value, const char *origin,
                              struct md_error *err);
/* Reads text as the key's type. */
enum md_status md__config_set_text(struct md__key *key, const char *text, const char *origin,
                                   struct md_error *err);
/* The first keys are those that the runtime declares: how many. */
int md__config_builtin_count(void);
json_t *md__config_number(double number); /* an integer when it is one */

/* In the order of their priority, lowest first. */
enum md_status md__config_apply_folder(struct md_config *config, const char *dir,
                                       struct md_error *err);
enum md_status md__config_apply_file(struct md_config *config,
                                     const struct md_config_options *options, struct md_error *err);
enum md_status md__config_apply_env(struct md_config *config, const char *const *env,
                                    struct md_error *err);
enum md_status md__config_apply_flags(struct md_config *config,
                                      const struct md_config_options *options,
                                      struct md_error *err);

/* config_reload.c: what is kept of the options, and let go. */
enum md_status md__config_keep_options(struct md_config *config,
                                       const struct md_config_options *options,
                                       struct md_error *err);
void md__config_drop_options(struct md_config *config);

/* --config is not a key: it says where keys come from. True: argv[*at] is it, *file its value. */
bool md__config_is_file_flag(const struct md_config_options *options, int *at, const char **file);

#endif
