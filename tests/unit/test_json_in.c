/* Strict JSON in: what must be refused, and that refusals tell where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_in.h"

static enum md_status parse(const char *text, struct md_error *err)
{
    json_t *root;
    enum md_status status = md_json_parse(text, strlen(text), &root, err);
    json_decref(root);
    return status;
}

static void test_accepts_every_kind(void **state)
{
    (void)state;
    static const char *const good[] = {
        "1", "\"x\"", "null", "[1, 2.5e3, -0]", "{\"a\": [true]}", " {} ", "[\"\\u00e9\"]"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(parse(good[i], NULL), MD_OK);
}

static void test_refuses_what_is_not_json(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",    "{",   "[1,]",       "NaN",           "[1e400]",  "Infinity", "{\"a\":1,\"a\":2}",
        "1 2", "'x'", "[\"\xff\"]", "[\"\\u0000\"]", "{\"a\" 1}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct md_error err = {0};
        assert_int_equal(parse(bad[i], &err), MD_ERR_INVALID);
        assert_non_null(strstr(err.text, "byte"));
    }
}

static void test_limits_depth_but_not_inside_strings(void **state)
{
    (void)state;
    char text[200] = "";
    for (int i = 0; i < MD_JSON_DEPTH_MAX; i++)
        strcat(text, "[");
    for (int i = 0; i < MD_JSON_DEPTH_MAX; i++)
        strcat(text, "]");
    assert_int_equal(parse(text, NULL), MD_OK);
    char deeper[220];
    snprintf(deeper, sizeof deeper, "[%s]", text);
    struct md_error err;
    assert_int_equal(parse(deeper, &err), MD_ERR_INVALID);
    assert_non_null(strstr(err.text, "at byte 32"));
    assert_int_equal(parse("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[\"", NULL), MD_OK);
}

/* Text that repeats a piece: "[" piece "," piece ... "]" */
static enum md_status parse_repeated(const char *piece, size_t count)
{
    size_t bytes = strlen(piece) + 1, length = count * bytes + 1;
    char *text = malloc(length + 1);
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 0; i < count; i++)
        snprintf(text + 1 + i * bytes, bytes + 1, "%s%s", piece, i + 1 < count ? "," : "]");
    json_t *root;
    enum md_status status = md_json_parse(text, length, &root, NULL);
    json_decref(root);
    free(text);
    return status;
}

static void test_limits_the_tree_not_the_text(void **state)
{
    (void)state;
    assert_int_equal(parse_repeated("{}", 100000), MD_OK);
    assert_int_equal(parse_repeated("{}", 1500000), MD_ERR_TOO_LARGE);
    assert_int_equal(parse_repeated("[]", 2000000), MD_ERR_TOO_LARGE);
    assert_int_equal(parse_repeated("1", 1000000), MD_OK);
    assert_int_equal(parse_repeated("1", 5000000), MD_ERR_TOO_LARGE);
    assert_int_equal(parse_repeated("\"{,{,{,{,{,{,{,{,{,{,{,{,{,{,{,{,\"", 300000), MD_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_every_kind),
        cmocka_unit_test(test_refuses_what_is_not_json),
        cmocka_unit_test(test_limits_the_tree_not_the_text),
        cmocka_unit_test(test_limits_depth_but_not_inside_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
