/*
 * Reading the configuration once more while the daemon runs. A configuration remembers where it
 * came from (copies of its options); keys that need a restart keep the value that is in force, so
 * that what a script reads is always what the daemon does.
 */
#include <stdlib.h>
#include <string.h>

#include "script/config_internal.h"

static void free_list(const char *const *list)
{
    char **entries = (char **)(uintptr_t)list;
    for (int i = 0; entries != NULL && entries[i] != NULL; i++)
        free(entries[i]);
    free(entries);
}

/* A NULL-terminated copy; NULL when memory ran out. */
static const char *const *copy_list(const char *const *list, int count)
{
    char **copy = calloc((size_t)count + 1, sizeof *copy);
    for (int i = 0; copy != NULL && i < count; i++) {
        if ((copy[i] = strdup(list[i])) == NULL) {
            free_list((const char *const *)copy);
            return NULL;
        }
    }
    return (const char *const *)copy;
}

static int length_of(const char *const *list)
{
    int count = 0;
    while (list != NULL && list[count] != NULL)
        count++;
    return count;
}

enum md_status md__config_keep_options(struct md_config *config,
                                       const struct md_config_options *options,
                                       struct md_error *err)
{
    struct md_config_options *kept = &config->options;
    kept->dir = options->dir != NULL ? strdup(options->dir) : NULL;
    kept->file = options->file != NULL ? strdup(options->file) : NULL;
    kept->argc = options->argc;
    kept->argv = copy_list(options->argv, options->argc);
    kept->env = copy_list(options->env, length_of(options->env));
    bool kept_all = (kept->dir != NULL) == (options->dir != NULL) &&
                    (kept->file != NULL) == (options->file != NULL) && kept->argv != NULL &&
                    kept->env != NULL;
    return kept_all ? MD_OK : md_fail(err, MD_ERR_MEMORY, "no memory for the configuration");
}

void md__config_drop_options(struct md_config *config)
{
    free((void *)(uintptr_t)config->options.dir);
    free((void *)(uintptr_t)config->options.file);
    free_list(config->options.argv);
    free_list(config->options.env);
}

static void hold_back(struct md_config *config, struct md__key *key, const struct md__key *running,
                      struct md_buffer *held)
{
    json_decref(key->value);
    key->value = json_incref(running->value);
    memcpy(key->origin, running->origin, sizeof key->origin);
    json_object_set(config->values, key->name, key->value);
    if (held == NULL)
        return;
    md_buffer_text(held, held->length > 0 ? ", " : "");
    md_buffer_text(held, key->name);
}

enum md_status md_config_reload(const struct md_config *running, struct md_config **result,
                                struct md_buffer *held, struct md_error *err)
{
    enum md_status status = md_config_load(&running->options, result, err);
    for (int i = 0; status == MD_OK && i < (*result)->count; i++) {
        struct md__key *key = &(*result)->keys[i];
        const struct md__key *before = md__config_find(running, key->name);
        if (key->restart && before != NULL && !json_equal(key->value, before->value))
            hold_back(*result, key, before, held);
    }
    return status;
}

bool md_config_equal(const struct md_config *a, const struct md_config *b)
{
    return json_equal(a->values, b->values);
}
