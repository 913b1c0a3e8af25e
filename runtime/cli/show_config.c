/*
 * moondial show-config: each setting of a scripts folder, its value, where that came from, and
 * whether changing it needs a restart.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/settings.h"

int md__cli_show_config(int argc, char **argv)
{
    struct md__settings settings;
    struct md_buffer text;
    struct md_error err = {0};
    enum md_status status = md__settings_load(
        argc, argv, "show-config SCRIPTS_DIR [--json] [--KEY VALUE ...]", &settings, &err);

    if (status != MD_OK) {
        return md__cli_fail(&err);
    }
    md_buffer_init(&text, 0);
    status = settings.as_json ? md_config_describe(settings.config, &text, &err)
                              : md_config_print(settings.config, &text, &err);
    if (status == MD_OK) {
        fwrite(text.data, 1, text.length, stdout);
        if (text.length > 0 && text.data[text.length - 1] != '\n') {
            putchar('\n');
        }
    }
    md_buffer_fini(&text);
    md_config_unref(settings.config);
    return status == MD_OK ? 0 : md__cli_fail(&err);
}
