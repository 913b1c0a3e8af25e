/* Model folders: what config.json must be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "model/config.h"
#include "unit.h"

static struct md_error err;
static char folder[] = "/tmp/md_test_config_XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/config.json", folder);
    return 0;
}

static int remove_folder(void **state)
{
    unlink(path);
    return rmdir(folder);
}

static enum md_status read_config(const char *text, struct md_model_config *config)
{
    struct md_file_part part = {text, strlen(text)};
    assert_int_equal(md_file_replace(path, &part, 1, &err), MD_OK);
    return md_model_config_read(folder, config, &err);
}

static void a_good_folder_is_read(void **state)
{
    static const char text[] = "{\"model_type\": \"tft_2\", \"hidden_size\": 32}\n";
    struct md_model_config config;
    assert_ok(read_config(text, &config));
    assert_string_equal(config.model_type, "tft_2");
    assert_string_equal(config.json.data, text);
    assert_int_equal(config.json.length, sizeof text - 1);
    assert_memory_equal(config.weights_path, folder, strlen(folder));
    assert_string_equal(config.weights_path + strlen(folder), "/model.safetensors");
    md_model_config_fini(&config);
    md_model_config_fini(&config);
}

static void bad_content_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "\"tft\"",
        "{}",
        "{\"model_type\": 3}",
        "{\"model_type\": null}",
        "{\"model_type\": \"\"}",
        "{\"model_type\": \"TFT\"}",
        "{\"model_type\": \"a/../b\"}",
        "{\"model_type\": \"..\"}",
        "{\"model_type\": \"a b\"}",
        "{\"model_type\": \"a\\u0000b\"}",
        "{\"model_type\": \"a\", \"model_type\": \"b\"}",
        "{\"model_type\": \"a\", \"x\": NaN}",
        "{\"model_type\": \"a\", \"x\": 1e400}",
        "{\"model_type\": \"a\"} {}",
        "{\"model_type\": "
        "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
        "{\"model_type\": \"a\", \"x\": "
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct md_model_config config;
        assert_fails(MD_ERR_CORRUPT, read_config(texts[i], &config));
        assert_says(path);
    }
}

static void the_longest_type_is_taken(void **state)
{
    char text[128], type[MD_MODEL_TYPE_MAX + 1];
    memset(type, 'a', MD_MODEL_TYPE_MAX);
    type[MD_MODEL_TYPE_MAX] = '\0';
    snprintf(text, sizeof text, "{\"model_type\":\"%s\"}", type);
    struct md_model_config config;
    assert_ok(read_config(text, &config));
    assert_string_equal(config.model_type, type);
    md_model_config_fini(&config);
}

static void what_is_not_a_model_folder_is_refused(void **state)
{
    struct md_model_config config;
    assert_fails(MD_ERR_NOT_FOUND, md_model_config_read("/tmp/md_none", &config, &err));
    assert_fails(MD_ERR_INVALID, md_model_config_read("/dev/null", &config, &err));
    unlink(path);
    assert_fails(MD_ERR_NOT_FOUND, md_model_config_read(folder, &config, &err));
    assert_says("config.json");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_fails(MD_ERR_INVALID, md_model_config_read(folder, &config, &err));
    rmdir(path);
}

static void an_over_large_config_is_refused(void **state)
{
    assert_ok(md_file_replace(path, NULL, 0, &err));
    assert_int_equal(truncate(path, MD_MODEL_CONFIG_BYTES_MAX + 1), 0);
    struct md_model_config config;
    assert_fails(MD_ERR_TOO_LARGE, md_model_config_read(folder, &config, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_folder_is_read),
        cmocka_unit_test(bad_content_is_refused),
        cmocka_unit_test(the_longest_type_is_taken),
        cmocka_unit_test(what_is_not_a_model_folder_is_refused),
        cmocka_unit_test(an_over_large_config_is_refused),
    };
    return cmocka_run_group_tests_name("model_config", tests, make_folder, remove_folder);
}
