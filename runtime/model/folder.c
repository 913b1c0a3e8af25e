/*
 * Reads config.json of a model folder: strict JSON, an object, and a family name that is safe to
 * put into a path, because lua/moondial/models/<model_type>.lua is what it picks.
 */
#include "model/folder.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json_in.h"

static enum md_status check_model_type(const json_t *root, char model_type[MD_MODEL_TYPE_MAX],
                                       struct md_error *err)
{
    const char *name = json_string_value(json_object_get(root, "model_type"));

    if (name == NULL) {
        return md_fail(err, MD_ERR_CORRUPT, "config.json has no string \"model_type\"");
    }
    if (name[0] == '\0' || strlen(name) >= MD_MODEL_TYPE_MAX ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name)) {
        return md_fail(err, MD_ERR_CORRUPT,
                       "config.json: model_type \"%.80s\" is not of [a-z0-9_]+ below %d characters",
                       name, MD_MODEL_TYPE_MAX);
    }
    memcpy(model_type, name, strlen(name) + 1);
    return MD_OK;
}

enum md_status md_folder_config(const char *folder, struct md_buffer *config,
                                char model_type[MD_MODEL_TYPE_MAX], struct md_error *err)
{
    char path[PATH_MAX];
    size_t begin = config->length;
    struct md_error cause = {0};
    json_t *root = NULL;
    enum md_status status;

    if (snprintf(path, sizeof path, "%s/config.json", folder) >= (int)sizeof path) {
        return md_fail(err, MD_ERR_INVALID, "the path of the model folder is too long");
    }
    status = md_file_read(path, MD_MODEL_CONFIG_BYTES_MAX, config, err);
    if (status != MD_OK) {
        return status;
    }
    if (md_json_parse(config->data + begin, config->length - begin, &root, &cause) != MD_OK) {
        return md_fail(err, MD_ERR_CORRUPT, "config.json: %s", cause.text);
    }
    status = json_is_object(root) ? check_model_type(root, model_type, err)
                                  : md_fail(err, MD_ERR_CORRUPT, "config.json is not an object");
    json_decref(root);
    return status;
}
