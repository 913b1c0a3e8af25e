/* The content hash: pieces, sensitivity, and this program's identity. */
#include <string.h>

#include "base/hash.h"
#include "unit.h"

static void pieces_do_not_matter(void **state)
{
    unsigned char data[300];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7);
    struct md_digest whole = md_hash_of(data, sizeof data);
    for (size_t piece = 1; piece < sizeof data; piece++) {
        struct md_hash hash;
        md_hash_init(&hash);
        for (size_t at = 0; at < sizeof data; at += piece)
            md_hash_add(&hash, data + at, at + piece < sizeof data ? piece : sizeof data - at);
        assert_true(md_digest_equal(md_hash_end(&hash), whole));
    }
}

static void every_bit_and_the_length_show(void **state)
{
    unsigned char data[200] = {0};
    struct md_digest seen[sizeof data * 8], whole = md_hash_of(data, sizeof data);
    for (size_t bit = 0; bit < sizeof data * 8; bit++) {
        data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        seen[bit] = md_hash_of(data, sizeof data);
        data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_false(md_digest_equal(seen[bit], whole));
        for (size_t other = 0; other < bit; other++)
            assert_false(md_digest_equal(seen[bit], seen[other]));
    }
    for (size_t length = 0; length < sizeof data; length++)
        assert_false(md_digest_equal(md_hash_of(data, length), whole));
}

static void texts_and_numbers_keep_their_bounds(void **state)
{
    struct md_hash a, b;
    md_hash_init(&a);
    md_hash_init(&b);
    md_hash_text(&a, "ab");
    md_hash_text(&a, "c");
    md_hash_text(&b, "a");
    md_hash_text(&b, "bc");
    assert_false(md_digest_equal(md_hash_end(&a), md_hash_end(&b)));
    md_hash_init(&a);
    md_hash_init(&b);
    md_hash_text(&a, NULL);
    md_hash_text(&b, "");
    assert_false(md_digest_equal(md_hash_end(&a), md_hash_end(&b)));
}

static void digests_are_printed_whole(void **state)
{
    char text[MD_HASH_TEXT];
    md_digest_text((struct md_digest){{0x12, 0xfedcba9876543210u}}, text);
    assert_string_equal(text, "0000000000000012fedcba9876543210");
}

static void the_program_knows_its_build(void **state)
{
    struct md_digest first, second;
    assert_true(md_build_id(&first));
    assert_true(md_build_id(&second));
    assert_true(md_digest_equal(first, second));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(every_bit_and_the_length_show),
        cmocka_unit_test(texts_and_numbers_keep_their_bounds),
        cmocka_unit_test(digests_are_printed_whole),
        cmocka_unit_test(the_program_knows_its_build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
