/* Configuration: where values come from, which one wins, and what is refused. */
#include <stdlib.h>
#include <string.h>

#include "scratch.h"
#include "script/config.h"
#include "unit.h"

static const char config_lua[] = "return { port = 9000, name = 'a', ratio = 0.5, loud = false,\n"
                                 "  list = { 1, 2 }, map = { x = 'y' }, big = 8 * 2^20 }";

static char *dir;
static struct md_config *config;
static struct md_error err;

static int begin(void **state)
{
    dir = scratch_new();
    config = NULL;
    return 0;
}

static int end(void **state)
{
    md_config_unref(config);
    scratch_delete(dir);
    return 0;
}

static void write_file(const char *name, const char *text)
{
    char *path = scratch_path(dir, name);
    scratch_write(path, text, strlen(text));
    free(path);
}

static enum md_status load(const char *const *flags, const char *const *env)
{
    struct md_config_options options = {.dir = dir, .argv = flags, .env = env};
    while (flags != NULL && flags[options.argc] != NULL)
        options.argc++;
    md_config_unref(config);
    config = NULL;
    return md_config_load(&options, &config, &err);
}

static void test_sources_in_order(void **state)
{
    char *file = scratch_path(dir, "over.lua");
    write_file("config.lua", config_lua);
    write_file("over.lua", "return { port = 9001, name = 'b' }");
    static const char *const env[] = {"MOONDIAL_PORT=9002", "MOONDIAL=x", "MOONDIAL_HOME=/y",
                                      "HOME=/", NULL};
    const char *const over[] = {"--config", file, NULL};
    const char *const all[] = {"--port", "9003", "--config", file, "--ratio=0.25", "--loud", NULL};
    assert_ok(load(NULL, NULL));
    assert_int_equal(md_config_int(config, "port"), 9000);
    assert_int_equal(md_config_int(config, "big"), 8388608);
    assert_int_equal(md_config_int(config, "http_threads"), 64);
    assert_ok(load(over, NULL));
    assert_int_equal(md_config_int(config, "port"), 9001);
    assert_ok(load(over, env));
    assert_int_equal(md_config_int(config, "port"), 9002);
    assert_string_equal(md_config_string(config, "name"), "b");
    assert_ok(load(all, env));
    assert_int_equal(md_config_int(config, "port"), 9003);
    assert_true(md_config_number(config, "ratio") == 0.25);
    assert_true(md_config_bool(config, "loud"));
    free(file);
}

static void expect_flags(const char *a, const char *b, const char *part)
{
    const char *const flags[] = {a, b, NULL};
    write_file("config.lua", config_lua);
    assert_fails(MD_ERR_INVALID, load(flags, NULL));
    assert_says(part);
}

static void test_flags_are_checked(void **state)
{
    expect_flags("--prot", "1", "unknown flag --prot (did you mean --port?)");
    expect_flags("--xyzzyxyzzy", "1", "unknown flag --xyzzyxyzzy");
    expect_flags("--port", "many", "\"many\" is not a number");
    expect_flags("--port", "1e999", "is not a number");
    expect_flags("--port", NULL, "--port needs a value");
    expect_flags("--loud=maybe", NULL, "\"maybe\" is not a boolean");
    expect_flags("--list", "{\"a\":", "is not a table");
    expect_flags("stray", NULL, "unexpected argument");
    expect_flags("--states", "-1", "flag --states: states must not be negative");
    static const char *const env[] = {"MOONDIAL_PORT=x", NULL};
    assert_fails(MD_ERR_INVALID, load(NULL, env));
    assert_says("environment MOONDIAL_PORT");
}

static void expect_file(const char *text, const char *part)
{
    write_file("config.lua", text);
    assert_true(load(NULL, NULL) != MD_OK);
    assert_says(part);
}

static void test_files_are_checked(void **state)
{
    expect_file("return 5", "config.lua: must return a table");
    expect_file("return { port = 'x' }", "port must be a number, not a string");
    expect_file("return { Port = 1 }", "no key name");
    expect_file("return { f = function() end }", "config.lua:");
    expect_file("return { n = 0/0 }", "config.lua:");
    expect_file("return { a = = 1 }", "config.lua:1:");
    expect_file("while true do end", "does not come to an end");
    expect_file("return { { 1 } }", "config.lua:");
}

static void test_booleans_and_tables(void **state)
{
    static const char *const flags[] = {"--no-loud", "--list", "[3]", "--map={\"z\":1}", NULL};
    struct md_buffer text;
    write_file("config.lua", config_lua);
    assert_ok(load(flags, NULL));
    assert_false(md_config_bool(config, "loud"));
    md_buffer_init(&text, 0);
    assert_ok(md_config_describe(config, &text, &err));
    assert_non_null(strstr(text.data, "\"key\":\"list\",\"value\":[3],\"origin\":\"flag --list\""));
    assert_non_null(
        strstr(text.data, "\"key\":\"map\",\"value\":{\"z\":1},\"origin\":\"flag --map\""));
    assert_non_null(
        strstr(text.data, "\"key\":\"name\",\"value\":\"a\",\"origin\":\"config.lua\""));
    md_buffer_fini(&text);
}

static void test_secrets_are_hidden(void **state)
{
    static const char *const flags[] = {"--api-key", "sesame", NULL};
    struct md_buffer text;
    assert_ok(load(flags, NULL));
    assert_string_equal(md_config_string(config, "api_key"), "sesame");
    md_buffer_init(&text, 0);
    assert_ok(md_config_print(config, &text, &err));
    assert_ok(md_config_describe(config, &text, &err));
    assert_null(strstr(text.data, "sesame"));
    md_buffer_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sources_in_order, begin, end),
        cmocka_unit_test_setup_teardown(test_flags_are_checked, begin, end),
        cmocka_unit_test_setup_teardown(test_files_are_checked, begin, end),
        cmocka_unit_test_setup_teardown(test_booleans_and_tables, begin, end),
        cmocka_unit_test_setup_teardown(test_secrets_are_hidden, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
