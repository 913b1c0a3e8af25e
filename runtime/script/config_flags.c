/* Configuration from the environment and the command line; see config.h. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "script/config_internal.h"

enum md_status md__config_apply_env(struct md_config *config, const char *const *env,
                                    struct md_error *err)
{
    static const char prefix[] = "MOONDIAL_";
    for (; env != NULL && *env != NULL; env++) {
        const char *equal = strchr(*env, '=');
        size_t length = equal != NULL ? (size_t)(equal - *env) : 0;
        char name[KEY_MAX + sizeof prefix];
        if (strncmp(*env, prefix, sizeof prefix - 1) != 0 || length >= sizeof name)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)length, *env);
        for (char *at = name; *at != '\0'; at++)
            *at = (char)tolower((unsigned char)*at);
        struct md__key *key = md__config_find(config, name + sizeof prefix - 1);
        if (key == NULL) /* the environment is not only ours: MOONDIAL_HOME */
            continue;
        char origin[KEY_MAX + 32];
        snprintf(origin, sizeof origin, "environment %.*s", (int)length, *env);
        enum md_status status = md__config_set_text(key, equal + 1, origin, err);
        if (status != MD_OK)
            return status;
    }
    return MD_OK;
}

/* Levenshtein distance, for suggestions; names are shorter than KEY_MAX. */
static int distance(const char *a, const char *b)
{
    int row[KEY_MAX + 1];
    int width = (int)strlen(b);
    for (int j = 0; j <= width; j++)
        row[j] = j;
    for (int i = 1; a[i - 1] != '\0'; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= width; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = change < least ? change : least;
        }
    }
    return row[width];
}

const struct md__key *md__config_nearest(const struct md_config *config, const char *name)
{
    const struct md__key *best = NULL;
    int nearest = 4;
    for (int i = 0; i < config->count; i++) {
        int steps = distance(name, config->keys[i].name);
        if (steps < nearest) {
            nearest = steps;
            best = &config->keys[i];
        }
    }
    return best;
}

static enum md_status fail_unknown(const struct md_config *config, const char *flag,
                                   const char *name, struct md_error *err)
{
    const struct md__key *best = md__config_nearest(config, name);
    if (best == NULL)
        return md_fail(err, MD_ERR_INVALID, "unknown flag %.80s", flag);
    char suggestion[KEY_MAX];
    snprintf(suggestion, sizeof suggestion, "%s", best->name);
    for (char *at = suggestion; *at != '\0'; at++)
        *at = *at == '_' ? '-' : *at;
    return md_fail(err, MD_ERR_INVALID, "unknown flag %.80s (did you mean --%s?)", flag,
                   suggestion);
}

/* "--key-name" or "--key-name=value" to "key_name"; returns the value or NULL. */
static const char *split_flag(const char *flag, char name[KEY_MAX])
{
    size_t length = strcspn(flag + 2, "=");
    snprintf(name, KEY_MAX, "%.*s", (int)length, flag + 2);
    for (char *at = name; *at != '\0'; at++)
        *at = *at == '-' ? '_' : *at;
    return flag[2 + length] == '=' ? flag + 3 + length : NULL;
}

static bool is_boolean(const struct md__key *key)
{
    return key != NULL && json_is_boolean(key->value);
}

/* Applies argv[*at] (and its value) and moves *at to the last argument used. */
static enum md_status apply_flag(struct md_config *config, const struct md_config_options *options,
                                 int *at, struct md_error *err)
{
    const char *flag = options->argv[*at];
    char name[KEY_MAX], origin[KEY_MAX + 8];
    if (strncmp(flag, "--", 2) != 0)
        return md_fail(err, MD_ERR_INVALID, "unexpected argument \"%.80s\"", flag);
    const char *value = split_flag(flag, name);
    struct md__key *key = md__config_find(config, name);
    snprintf(origin, sizeof origin, "flag %.*s", (int)strcspn(flag, "="), flag);
    if (key == NULL && strncmp(name, "no_", 3) == 0 &&
        is_boolean(md__config_find(config, name + 3)))
        return md__config_set_text(md__config_find(config, name + 3), "false", origin, err);
    if (key == NULL)
        return fail_unknown(config, flag, name, err);
    if (value == NULL && is_boolean(key))
        return md__config_set_text(key, "true", origin, err);
    if (value == NULL && *at + 1 == options->argc)
        return md_fail(err, MD_ERR_INVALID, "%.80s needs a value", flag);
    if (value == NULL)
        value = options->argv[++*at];
    return md__config_set_text(key, value, origin, err);
}

/* --config is not a key: it says where keys come from, and so goes before them. */
bool md__config_is_file_flag(const struct md_config_options *options, int *at, const char **file)
{
    const char *flag = options->argv[*at];
    if (strncmp(flag, "--config=", 9) == 0) {
        *file = flag + 9;
        return true;
    }
    if (strcmp(flag, "--config") != 0)
        return false;
    *file = *at + 1 < options->argc ? options->argv[++*at] : "";
    return true;
}

enum md_status md__config_apply_flags(struct md_config *config,
                                      const struct md_config_options *options, struct md_error *err)
{
    const char *file;
    enum md_status status = MD_OK;
    for (int at = 0; at < options->argc && status == MD_OK; at++) {
        if (!md__config_is_file_flag(options, &at, &file))
            status = apply_flag(config, options, &at, err);
    }
    return status;
}
