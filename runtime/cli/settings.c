/*
 * Reading the command line of `serve` and `show-config`. Where keys and addresses come from is
 * told in settings.h.
 */
#include "cli/settings.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum md_status md__settings_load(int argc, char **argv, const char *usage,
                                 struct md__settings *settings, struct md_error *err)
{
    struct md_config_options options = {.env = (const char *const *)environ,
                                        .argv = (const char *const *)argv};
    int kept = 0;

    *settings = (struct md__settings){0};
    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        puts("  each KEY, what it is for and its value: moondial show-config SCRIPTS_DIR");
        exit(0);
    }
    if (argc < 1 || strncmp(argv[0], "--", 2) == 0) {
        return md_fail(err, MD_ERR_INVALID, "usage: moondial %s", usage);
    }
    settings->dir = options.dir = argv[0];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            settings->as_json = true;
        } else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
            options.file = argv[++i];
        } else if (strncmp(argv[i], "--config=", 9) == 0) {
            options.file = argv[i] + 9;
        } else {
            argv[kept++] = argv[i];
        }
    }
    options.argc = kept;
    if (access(options.dir, R_OK | X_OK) != 0) {
        return md_fail(err, MD_ERR_NOT_FOUND, "the scripts folder \"%s\" cannot be read",
                       options.dir);
    }
    return md_config_load(&options, &settings->config, err);
}

/* "127.0.0.1:8000", ":8000" or "8000" to its parts. */
static enum md_status split_listen(const char *text, char *address, size_t size, int64_t *port)
{
    const char *colon = strrchr(text, ':');
    const char *digits = colon != NULL ? colon + 1 : text;
    size_t length = colon != NULL ? (size_t)(colon - text) : 0;
    char *end;

    *port = strtol(digits, &end, 10);
    if (end == digits || *end != '\0' || length >= size) {
        return MD_ERR_INVALID;
    }
    snprintf(address, size, "%.*s", length > 0 ? (int)length : 9, length > 0 ? text : "127.0.0.1");
    return MD_OK;
}

enum md_status md__settings_listen(const struct md_config *config, char *address, size_t size,
                                   int *port, struct md_error *err)
{
    const char *listen = md_config_string(config, "listen");
    int64_t number = md_config_int(config, "port");

    if (listen[0] == '\0') {
        snprintf(address, size, "%s", md_config_string(config, "host"));
    } else if (split_listen(listen, address, size, &number) != MD_OK) {
        return md_fail(err, MD_ERR_INVALID, "listen: \"%.100s\" is not ADDRESS:PORT", listen);
    }
    if (number < 0 || number > 65535) {
        return md_fail(err, MD_ERR_INVALID, "port: %lld is not between 0 and 65535",
                       (long long)number);
    }
    *port = (int)number;
    return MD_OK;
}

/* The file's text without blanks around it. A file that must exist but does not is an error. */
static enum md_status read_key_file(const char *path, bool required, char *secret, size_t size,
                                    struct md_error *err)
{
    struct md_buffer text;
    struct md_error cause = {0};
    enum md_status status;
    size_t begin = 0, end;

    md_buffer_init(&text, 0);
    status = md_file_read(path, size - 1, &text, &cause);
    if (status == MD_OK) {
        end = text.length;
        while (begin < end && isspace((unsigned char)text.data[begin])) {
            begin++;
        }
        while (end > begin && isspace((unsigned char)text.data[end - 1])) {
            end--;
        }
        snprintf(secret, size, "%.*s", (int)(end - begin), text.data ? text.data + begin : "");
    }
    md_buffer_fini(&text);
    if (status == MD_ERR_NOT_FOUND && !required) {
        return MD_OK;
    }
    return status == MD_OK ? MD_OK : md_fail(err, status, "API key: %s", cause.text);
}

enum md_status md__settings_key(const struct md__settings *settings, char *secret, size_t size,
                                struct md_http_options *options, struct md_error *err)
{
    const char *file = md_config_string(settings->config, "api_key_file");
    const char *nordiq = getenv("NORDIQ_API_KEY"), *tft = getenv("TFT_API_KEY");
    char path[PATH_MAX];
    enum md_status status = MD_OK;

    snprintf(secret, size, "%s", md_config_string(settings->config, "api_key"));
    if (secret[0] == '\0' && file[0] != '\0') {
        status = read_key_file(file, true, secret, size, err);
    }
    if (status == MD_OK && secret[0] == '\0' && nordiq != NULL) {
        snprintf(secret, size, "%s", nordiq);
    }
    if (status == MD_OK && secret[0] == '\0') {
        snprintf(path, sizeof path, "%s/.nordiq_key", settings->dir);
        status = read_key_file(path, false, secret, size, err);
    }
    if (status == MD_OK && secret[0] == '\0' && tft != NULL) {
        snprintf(secret, size, "%s", tft);
    }
    if (status == MD_OK && secret[0] != '\0') {
        options->keys[0] = (struct md_http_key){.name = "default", .secret = secret};
        options->key_count = 1;
    }
    return status;
}
