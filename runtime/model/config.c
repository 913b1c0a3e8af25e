/* Model folders; see config.h. */
#include "model/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json_in.h"

static enum md_status check_folder(const char *folder, struct md_error *err)
{
    struct stat info;
    if (stat(folder, &info) != 0)
        return md_fail(err, MD_ERR_NOT_FOUND, "no model folder at %s", folder);
    if (!S_ISDIR(info.st_mode))
        return md_fail(err, MD_ERR_INVALID, "%s is not a model folder", folder);
    return MD_OK;
}

static enum md_status join_path(const char *folder, const char *name, char **path,
                                struct md_error *err)
{
    struct md_buffer buffer;
    md_buffer_init(&buffer, 0);
    md_buffer_printf(&buffer, "%s/%s", folder, name);
    enum md_status status = md_buffer_check(&buffer, err);
    if (status)
        md_buffer_fini(&buffer);
    else
        *path = buffer.data;
    return status;
}

static bool is_model_type(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return length > 0 && length <= MD_MODEL_TYPE_MAX && text[length] == '\0';
}

static enum md_status take_model_type(const json_t *root, struct md_model_config *config,
                                      struct md_error *err)
{
    if (!json_is_object(root))
        return md_fail(err, MD_ERR_CORRUPT, "not a JSON object");
    const char *model_type = json_string_value(json_object_get(root, "model_type"));
    if (!model_type)
        return md_fail(err, MD_ERR_CORRUPT, "no model_type, which names the model's family");
    if (!is_model_type(model_type))
        return md_fail(err, MD_ERR_CORRUPT,
                       "model_type \"%s\" is not 1 to %d characters of a-z, 0-9 and _", model_type,
                       MD_MODEL_TYPE_MAX);
    strcpy(config->model_type, model_type);
    return MD_OK;
}

static enum md_status parse(struct md_model_config *config, struct md_error *err)
{
    struct md_error cause = {0};
    json_t *root = NULL;
    enum md_status status = md_json_parse(config->json.data, config->json.length, &root, &cause);
    if (status)
        return md_fail(err, status == MD_ERR_MEMORY ? status : MD_ERR_CORRUPT, "%s", cause.text);
    status = take_model_type(root, config, err);
    json_decref(root);
    return status;
}

enum md_status md_model_config_read(const char *folder, struct md_model_config *config_out,
                                    struct md_error *err)
{
    char *path = NULL;
    struct md_model_config config = {0};
    md_buffer_init(&config.json, MD_MODEL_CONFIG_BYTES_MAX);
    enum md_status status = check_folder(folder, err);
    if (!status)
        status = join_path(folder, "config.json", &path, err);
    if (!status)
        status = join_path(folder, "model.safetensors", &config.weights_path, err);
    if (!status)
        status = md_file_read(path, MD_MODEL_CONFIG_BYTES_MAX, &config.json, err);
    if (status)
        goto out;
    status = parse(&config, err);
    if (status)
        md_error_context(err, "%s", path);
out:
    free(path);
    if (status)
        md_model_config_fini(&config);
    else
        *config_out = config;
    return status;
}

static enum md_status read_object(const char *path, struct md_buffer *text, struct md_error *err)
{
    json_t *root = NULL;
    enum md_status status = md_file_read(path, MD_MODEL_CONFIG_BYTES_MAX, text, err);
    if (status)
        return status;
    status = md_json_parse(text->data, text->length, &root, err);
    if (!status && !json_is_object(root))
        status = md_fail(err, MD_ERR_CORRUPT, "not a JSON object");
    json_decref(root);
    return status ? md_error_context(err, "%s", path) : MD_OK;
}

enum md_status md_model_config_beside(const char *file, char **json, struct md_error *err)
{
    char *path = NULL;
    struct md_error cause = {0};
    struct md_buffer text;
    md_buffer_init(&text, MD_MODEL_CONFIG_BYTES_MAX);
    *json = NULL;
    if (asprintf(&path, "%s.json", file) < 0)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    enum md_status status = read_object(path, &text, &cause);
    free(path);
    if (status == MD_OK || status == MD_ERR_NOT_FOUND)
        *json = strdup(status ? "{}" : text.data);
    md_buffer_fini(&text);
    if (status && status != MD_ERR_NOT_FOUND)
        return md_fail(err, status, "%s", cause.text);
    return *json ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
}

bool md_model_config_flag(const char *json, const char *name, bool otherwise)
{
    json_t *root = NULL;
    if (md_json_parse(json, strlen(json), &root, NULL))
        return otherwise;
    const json_t *flag = json_object_get(json_object_get(root, "moondial"), name);
    bool value = json_is_boolean(flag) ? json_is_true(flag) : otherwise;
    json_decref(root);
    return value;
}

void md_model_config_fini(struct md_model_config *config)
{
    md_buffer_fini(&config->json);
    free(config->weights_path);
    *config = (struct md_model_config){0};
}
