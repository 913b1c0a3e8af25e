/*
 * The command line of `serve` and `show-config`: SCRIPTS_DIR, --config FILE, and any key of the
 * configuration as a flag.
 */
#ifndef MD_CLI_SETTINGS_H
#define MD_CLI_SETTINGS_H

#include "http/http.h"
#include "script/config.h"

struct md__settings {
    const char *dir;
    bool as_json; /* --json: taken out before the configuration sees the flags */
    struct md_config *config;
};
/* argv is rearranged. config is the caller's reference. */
enum md_status md__settings_load(int argc, char **argv, const char *usage,
                                 struct md__settings *settings, struct md_error *err);

/* Where to listen: `listen` ("127.0.0.1:8000", ":8000" or "8000"), or when that is empty `host` and
 * `port`. */
enum md_status md__settings_listen(const struct md_config *config, char *address, size_t size,
                                   int *port, struct md_error *err);

/*
 * The API key, in the order of the design documents: NORDIQ_API_KEY, .nordiq_key in the scripts
 * folder, TFT_API_KEY; but what the configuration names (api_key, api_key_file) comes first.
 * Sets at most one key; `secret` is the memory it lives in.
 */
enum md_status md__settings_key(const struct md__settings *settings, char *secret, size_t size,
                                struct md_http_options *options, struct md_error *err);

#endif
