/* Buffers under caps, fixed buffers, blobs, and JSON strings built in them. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json_out.h"
#include "unit.h"

static void appends_add_up_and_stay_terminated(void **state)
{
    struct md_buffer buffer;
    md_buffer_init(&buffer, 0);
    assert_null(buffer.data);
    md_buffer_text(&buffer, "a");
    md_buffer_append(&buffer, "b\0c", 3);
    md_buffer_printf(&buffer, "%d", 42);
    assert_int_equal(buffer.length, 6);
    assert_memory_equal(buffer.data, "ab\0c42", 7);
    assert_int_equal(md_buffer_check(&buffer, NULL), MD_OK);
    md_buffer_clear(&buffer);
    assert_int_equal(buffer.length, 0);
    assert_string_equal(buffer.data, "");
    md_buffer_fini(&buffer);
}

static void a_long_print_grows_the_buffer(void **state)
{
    struct md_buffer buffer;
    md_buffer_init(&buffer, 0);
    for (int width = 0; width < 300; width++) {
        md_buffer_clear(&buffer);
        md_buffer_text(&buffer, "x");
        md_buffer_printf(&buffer, "%*d", width, 7);
        assert_int_equal(buffer.length, 1 + (width ? width : 1));
        assert_int_equal(strlen(buffer.data), buffer.length);
        assert_int_equal(buffer.data[buffer.length - 1], '7');
    }
    md_buffer_fini(&buffer);
}

static void the_cap_is_exact_and_a_failure_sticks(void **state)
{
    struct md_error err;
    struct md_buffer buffer;
    md_buffer_init(&buffer, 5);
    md_buffer_text(&buffer, "12345");
    assert_ok(md_buffer_check(&buffer, &err));
    md_buffer_text(&buffer, "6");
    assert_fails(MD_ERR_TOO_LARGE, md_buffer_check(&buffer, &err));
    md_buffer_text(&buffer, "");
    assert_string_equal(buffer.data, "12345");
    md_buffer_clear(&buffer);
    md_buffer_printf(&buffer, "%s", "123456");
    assert_fails(MD_ERR_TOO_LARGE, md_buffer_check(&buffer, &err));
    assert_string_equal(buffer.data, "");
    md_buffer_fini(&buffer);
}

static void the_capacity_stays_within_the_cap(void **state)
{
    struct md_buffer buffer;
    md_buffer_init(&buffer, 100);
    for (int i = 0; i < 100; i++) {
        md_buffer_append(&buffer, "x", 1);
        assert_true(buffer.capacity > buffer.length && buffer.capacity <= 101);
    }
    assert_int_equal(buffer.failed, MD_OK);
    md_buffer_append(&buffer, "x", 1);
    assert_int_equal(buffer.failed, MD_ERR_TOO_LARGE);
    md_buffer_append(&buffer, "", 0);
    assert_int_equal(buffer.length, 100);
    md_buffer_fini(&buffer);
}

static void an_impossible_size_fails(void **state)
{
    struct md_buffer buffer;
    md_buffer_init(&buffer, 0);
    md_buffer_text(&buffer, "x");
    assert_false(md_buffer_reserve(&buffer, SIZE_MAX));
    assert_false(md_buffer_reserve(&buffer, 0));
    assert_int_equal(buffer.failed, MD_ERR_TOO_LARGE);
    md_buffer_fini(&buffer);
}

static void a_fixed_buffer_never_allocates(void **state)
{
    char memory[8];
    struct md_buffer buffer;
    md_buffer_init_fixed(&buffer, memory, sizeof memory);
    md_buffer_text(&buffer, "1234567");
    assert_int_equal(buffer.failed, MD_OK);
    assert_ptr_equal(buffer.data, memory);
    md_buffer_printf(&buffer, "%d", 8);
    assert_int_equal(buffer.failed, MD_ERR_TOO_LARGE);
    assert_string_equal(memory, "1234567");
    md_buffer_fini(&buffer);

    md_buffer_init_fixed(&buffer, memory, 1);
    md_buffer_text(&buffer, "");
    assert_int_equal(buffer.failed, MD_OK);
    md_buffer_text(&buffer, "1");
    assert_int_equal(buffer.failed, MD_ERR_TOO_LARGE);
}

static void a_blob_is_shared(void **state)
{
    struct md_buffer buffer;
    md_buffer_init(&buffer, 0);
    md_buffer_text(&buffer, "body");
    struct md_blob *blob = md_blob_from_buffer(&buffer);
    assert_int_equal(buffer.length, 0);
    assert_int_equal(blob->length, 4);
    assert_ptr_equal(md_blob_ref(blob), blob);
    md_blob_unref(blob);
    assert_string_equal(blob->data, "body");
    md_blob_unref(blob);
    md_blob_unref(NULL);
    md_buffer_fini(&buffer);
}

static void an_empty_blob_is_fine(void **state)
{
    struct md_buffer buffer;
    md_buffer_init(&buffer, 0);
    struct md_blob *blob = md_blob_from_buffer(&buffer);
    assert_int_equal(blob->length, 0);
    assert_string_equal(blob->data, "");
    md_blob_unref(blob);
    assert_null(md_blob_new("x", SIZE_MAX - 2));
}

#define REPLACED "\xEF\xBF\xBD"

static const struct {
    const char *text, *json;
} strings[] = {
    {"", "\"\""},
    {"plain", "\"plain\""},
    {"a\"b\\c/d", "\"a\\\"b\\\\c/d\""},
    {"\n\t\r\x01\x1f\x7f", "\"\\n\\t\\r\\u0001\\u001f\\u007f\""},
    {"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x8C\x99", "\"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x8C\x99\""},
    {"\xC3", "\"" REPLACED "\""},                                        /* cut */
    {"\xE2\x82", "\"" REPLACED REPLACED "\""},                           /* cut */
    {"\xF0\x9F\x8C.", "\"" REPLACED REPLACED REPLACED ".\""},            /* cut */
    {"\xC0\xAF", "\"" REPLACED REPLACED "\""},                           /* overlong */
    {"\xE0\x80\x80", "\"" REPLACED REPLACED REPLACED "\""},              /* overlong */
    {"\xED\xA0\x80", "\"" REPLACED REPLACED REPLACED "\""},              /* surrogate */
    {"\xF4\x90\x80\x80", "\"" REPLACED REPLACED REPLACED REPLACED "\""}, /* over U+10FFFF */
    {"\x80\xFFz", "\"" REPLACED REPLACED "z\""},
};

static void json_strings_are_always_valid(void **state)
{
    struct md_buffer out;
    md_buffer_init(&out, 0);
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        md_buffer_clear(&out);
        md_json_string(&out, strings[i].text, strlen(strings[i].text));
        assert_string_equal(out.data, strings[i].json);
    }
    md_buffer_clear(&out);
    md_json_string(&out, "a\0b", 3);
    assert_string_equal(out.data, "\"a\\u0000b\"");
    md_buffer_fini(&out);
}

static void json_numbers_are_appended(void **state)
{
    struct md_buffer out;
    md_buffer_init(&out, 0);
    md_buffer_text(&out, "[");
    md_json_f64(&out, 0.5);
    md_buffer_text(&out, ",");
    md_json_f32(&out, 0.1f);
    md_buffer_text(&out, ",");
    md_json_f64_rounded(&out, 2.6666, 2);
    md_buffer_text(&out, "]");
    assert_string_equal(out.data, "[0.5,0.1,2.67]");
    md_buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_add_up_and_stay_terminated),
        cmocka_unit_test(a_long_print_grows_the_buffer),
        cmocka_unit_test(the_cap_is_exact_and_a_failure_sticks),
        cmocka_unit_test(the_capacity_stays_within_the_cap),
        cmocka_unit_test(an_impossible_size_fails),
        cmocka_unit_test(a_fixed_buffer_never_allocates),
        cmocka_unit_test(a_blob_is_shared),
        cmocka_unit_test(an_empty_blob_is_fine),
        cmocka_unit_test(json_strings_are_always_valid),
        cmocka_unit_test(json_numbers_are_appended),
    };
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
