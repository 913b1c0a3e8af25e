/* Status tables and error texts. */
#include <string.h>

#include "unit.h"

static void every_status_has_its_columns(void **state)
{
    for (int i = 0; i < MD_STATUS_COUNT; i++) {
        assert_non_null(md_status_name((enum md_status)i));
        assert_in_range(md_status_http((enum md_status)i), 200, 599);
        assert_in_range(md_status_exit((enum md_status)i), 0, 3);
    }
    assert_string_equal(md_status_name(MD_ERR_CORRUPT), "CORRUPT_FILE");
    assert_int_equal(md_status_http(MD_ERR_TOO_LARGE), 413);
    assert_int_equal(md_status_exit(MD_ERR_UNSUPPORTED), 3);
    assert_int_equal(md_status_exit(MD_OK), 0);
}

static void a_number_that_is_no_status_reads_as_internal(void **state)
{
    assert_string_equal(md_status_name((enum md_status)999), "INTERNAL");
    for (int i = 0; i < MD_STATUS_COUNT; i++)
        assert_int_equal(md_status_of_name(md_status_name((enum md_status)i)), i);
    assert_int_equal(md_status_of_name("NO_SUCH_NAME"), MD_ERR_INTERNAL);
    assert_int_equal(md_status_http((enum md_status) - 1), 500);
}

static void fail_records_where_and_what(void **state)
{
    struct md_error err = {0};
    enum md_status status = md_fail(&err, MD_ERR_IO, "cannot read %s", "x");
    assert_int_equal(status, MD_ERR_IO);
    assert_int_equal(err.code, MD_ERR_IO);
    assert_string_equal(err.text, "cannot read x");
    assert_int_equal(err.line, __LINE__ - 4);
    assert_non_null(strstr(err.file, "test_status.c"));
}

static void fail_without_an_error_only_returns(void **state)
{
    assert_int_equal(md_fail(NULL, MD_ERR_TIMEOUT, "late"), MD_ERR_TIMEOUT);
    md_error_context(NULL, "prefix");
}

static void context_goes_before_and_keeps_the_code(void **state)
{
    struct md_error err = {0};
    md_fail(&err, MD_ERR_CORRUPT, "bad header");
    int line = err.line;
    assert_int_equal(md_error_context(&err, "model %d", 7), MD_ERR_CORRUPT);
    assert_string_equal(err.text, "model 7: bad header");
    assert_int_equal(err.line, line);
}

static void an_argument_may_point_into_the_error(void **state)
{
    struct md_error err = {0};
    md_fail(&err, MD_ERR_IO, "inner");
    md_fail(&err, MD_ERR_SCRIPT, "outer: %s", err.text);
    assert_string_equal(err.text, "outer: inner");
    md_error_context(&err, "%s", err.text);
    assert_string_equal(err.text, "outer: inner: outer: inner");
}

static void control_characters_stay_out(void **state)
{
    struct md_error err = {0};
    md_fail(&err, MD_ERR_IO, "a%sb", "\n\r\t\x7f\x1b");
    assert_string_equal(err.text, "a?????b");
}

/* Whatever the offset of the cut, the text ends with a whole character. */
static void a_cut_never_splits_a_character(void **state)
{
    static const char *const characters[] = {"\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x8C\x99"};
    for (size_t c = 0; c < 3; c++) {
        size_t bytes = strlen(characters[c]);
        for (size_t offset = 0; offset < 4; offset++) {
            char text[600] = "xxxx";
            size_t length = offset;
            for (; length + bytes < sizeof text; length += bytes)
                memcpy(text + length, characters[c], bytes);
            struct md_error err = {0};
            md_fail(&err, MD_ERR_IO, "%s", text);
            size_t kept = strlen(err.text);
            assert_in_range(kept, sizeof err.text - 4, sizeof err.text - 1);
            assert_int_equal((kept - offset) % bytes, 0);

            md_error_context(&err, "y");
            kept = strlen(err.text);
            assert_int_equal((kept - offset - 3) % bytes, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_columns),
        cmocka_unit_test(a_number_that_is_no_status_reads_as_internal),
        cmocka_unit_test(fail_records_where_and_what),
        cmocka_unit_test(fail_without_an_error_only_returns),
        cmocka_unit_test(context_goes_before_and_keeps_the_code),
        cmocka_unit_test(an_argument_may_point_into_the_error),
        cmocka_unit_test(control_characters_stay_out),
        cmocka_unit_test(a_cut_never_splits_a_character),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
