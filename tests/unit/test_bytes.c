/* Binary records: what was put is got, and nothing beyond the end. */
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "unit.h"

static void what_was_put_is_got(void **state)
{
    struct md_buffer bytes;
    struct md_bytes_reader reader;
    md_buffer_init(&bytes, 0);
    md_bytes_put_u8(&bytes, 200);
    md_bytes_put_u32(&bytes, 0xfffefdfcu);
    md_bytes_put_u64(&bytes, 0x8000000000000001ull);
    md_bytes_put_i64(&bytes, -5);
    md_bytes_put_f32(&bytes, -0.0f);
    md_bytes_put_text(&bytes, "");
    md_bytes_put_text(&bytes, "naïve");
    md_bytes_put_u32(&bytes, 3);
    md_buffer_append(&bytes, "abc", 3);

    assert_int_equal((unsigned char)bytes.data[1], 0xfc); /* little-endian */
    md_bytes_reader_init(&reader, bytes.data, bytes.length);
    assert_int_equal(md_bytes_get_u8(&reader), 200);
    assert_int_equal(md_bytes_get_u32(&reader), 0xfffefdfcu);
    assert_true(md_bytes_get_u64(&reader) == 0x8000000000000001ull);
    assert_true(md_bytes_get_i64(&reader) == -5);
    assert_true(signbit(md_bytes_get_f32(&reader)));
    assert_string_equal(md_bytes_get_text(&reader), "");
    assert_string_equal(md_bytes_get_text(&reader), "naïve");
    assert_int_equal(md_bytes_get_count(&reader, 1), 3);
    assert_int_equal(md_bytes_left(&reader), 3);
    assert_false(reader.has_failed);
    md_buffer_fini(&bytes);
}

static void every_cut_fails(void **state)
{
    struct md_buffer bytes;
    md_buffer_init(&bytes, 0);
    md_bytes_put_u32(&bytes, 1);
    md_bytes_put_text(&bytes, "four");
    md_bytes_put_i64(&bytes, 9);
    for (size_t length = 0; length <= bytes.length; length++) {
        struct md_bytes_reader reader;
        md_bytes_reader_init(&reader, bytes.data, length);
        md_bytes_get_u32(&reader);
        const char *text = md_bytes_get_text(&reader);
        int64_t number = md_bytes_get_i64(&reader);
        assert_int_equal(reader.has_failed, length < bytes.length);
        assert_true(number == (reader.has_failed ? 0 : 9));
        assert_true(strcmp(text, "four") == 0 || *text == '\0');
    }
    md_buffer_fini(&bytes);
}

static void lies_about_lengths_fail(void **state)
{
    struct md_bytes_reader reader;
    md_bytes_reader_init(&reader,
                         "\xff\xff\xff\xff"
                         "text",
                         8); /* a text of 4 GB */
    assert_string_equal(md_bytes_get_text(&reader), "");
    assert_true(reader.has_failed);
    md_bytes_reader_init(&reader,
                         "\x03\0\0\0"
                         "a\0b",
                         8); /* a NUL inside */
    assert_string_equal(md_bytes_get_text(&reader), "");
    assert_true(reader.has_failed);
    md_bytes_reader_init(&reader,
                         "\x02\0\0\0"
                         "abc",
                         7); /* none at the end */
    assert_string_equal(md_bytes_get_text(&reader), "");
    assert_true(reader.has_failed);
    md_bytes_reader_init(&reader,
                         "\x02\0\0\0"
                         "abc",
                         7); /* two things of two bytes */
    assert_int_equal(md_bytes_get_count(&reader, 2), 0);
    assert_true(reader.has_failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_got),
        cmocka_unit_test(every_cut_fails),
        cmocka_unit_test(lies_about_lengths_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
