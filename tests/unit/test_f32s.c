/*
 * Many float32 as text: every instruction set that this machine has writes the same bytes as the
 * functions for one number, which find the shortest decimal by another method (test_f64text.c
 * checks them against printf and strtof). Where the vectors work themselves, from 1e-4 to below
 * 1e9, a sample is compared, under --full every pattern of either sign. Beyond they leave numbers
 * to those functions, so that a sample of them suffices to see them left.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/f64text.h"
#include "base/isa/numbers.h"
#include "base/json_out.h"
#include "unit.h"

enum { BLOCK = 64, TEXT = (BLOCK + 1) * MD_F32S_TEXT_MAX };

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static size_t one_by_one(const float *values, size_t count, int decimals, char *text)
{
    char *at = text;
    for (size_t i = 0; i < count; i++) {
        *at++ = ',';
        at += decimals < 0 ? md_f32_text(values[i], at)
                           : md_f32_text_rounded(values[i], decimals, at);
    }
    return (size_t)(at - text);
}

/* Names the first number that differs. */
static void fail_on(const float *values, size_t count, int decimals, int writer,
                    md__f32s_writer write)
{
    for (size_t i = 0; i < count; i++) {
        float block[8];
        char text[9 * MD_F32S_TEXT_MAX], expected[9 * MD_F32S_TEXT_MAX];
        for (int k = 0; k < 8; k++)
            block[k] = values[i];
        size_t length = one_by_one(block, 8, decimals, expected);
        char *end = write(block, 8, decimals, text);
        if ((size_t)(end - text) != length || memcmp(text, expected, length) != 0)
            fail_msg("writer %d, %d decimals, %a: %.*s, not %.*s", writer, decimals,
                     (double)values[i], (int)(end - text) / 8, text, (int)length / 8, expected);
    }
    fail_msg("writer %d, %d decimals: numbers beside each other", writer, decimals);
}

static void check(const float *values, size_t count, int decimals)
{
    static md__f32s_writer writers[MD__F32S_WRITERS_MAX];
    static int writer_count;
    char text[TEXT], expected[TEXT];
    if (writer_count == 0)
        writer_count = md__f32s_writers(writers);
    size_t length = one_by_one(values, count, decimals, expected);
    for (int i = 0; i < writer_count; i++) {
        char *end = writers[i](values, count, decimals, text);
        if ((size_t)(end - text) != length || memcmp(text, expected, length) != 0)
            fail_on(values, count, decimals, i, writers[i]);
    }
}

/* Every exponent with the fractions where digits are many, few, or the neighbours are uneven. */
static void every_exponent_is_written_alike(void **state)
{
    const uint32_t fractions[] = {0, 1, 2, 0x7FFFFF, 0x7FFFFE, 0x400000, 0x200000, 0x555555};
    float values[BLOCK];
    for (uint32_t top = 0; top < 512; top++)
        for (int round = 0; round < 4; round++) {
            for (uint32_t i = 0; i < BLOCK; i++)
                values[i] = from_bits(
                    top << 23 |
                    (i < 8 && round == 0 ? fractions[i] : (uint32_t)unit_random() & 0x7FFFFF));
            check(values, BLOCK, -1);
            check(values, BLOCK, round);
        }
}

/* Numbers as people write them: the interval then holds a rounder one than the digits suggest. */
static void numbers_of_few_digits_are_written_alike(void **state)
{
    float values[BLOCK];
    for (int round = 0; round < 6000; round++) {
        for (int i = 0; i < BLOCK; i++) {
            double digits = (double)(int64_t)(unit_random() % 2000000) - 1000000;
            values[i] = (float)(digits / pow(10, (double)(unit_random() % 10)));
        }
        check(values, BLOCK, -1);
        for (int decimals = 0; decimals <= 5; decimals++)
            check(values, BLOCK, decimals);
    }
}

static void ties_are_written_alike(void **state)
{
    float values[BLOCK];
    for (int first = -20000; first < 20000; first += BLOCK) {
        for (int i = 0; i < BLOCK; i++)
            values[i] = (float)(first + i) / 32;
        for (int decimals = -1; decimals <= 4; decimals++)
            check(values, BLOCK, decimals);
    }
}

/* What is out of the ordinary at each place of a vector, in every count of numbers. */
static void odd_numbers_and_counts_are_written_alike(void **state)
{
    const float odd[] = {0,        -0.0f,      NAN,     INFINITY, -INFINITY, 1e-45f,    -1e-38f,
                         9.9e-5f,  1e-4f,      -1e-4f,  1e9f,     -1e9f,     9.9999e8f, 1e30f,
                         9998.99f, 9998.9995f, 9999.0f, -9999.0f, 10000.0f,  3.4e38f,   0.00005f,
                         -0.0004f, 0.99996f,   1e-3f,   99.9995f, 1e21f,     -1e20f};
    float values[BLOCK];
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++)
        for (size_t count = 1; count <= 19; count++)
            for (size_t at = 0; at < count; at++) {
                for (size_t i = 0; i < count; i++)
                    values[i] = i == at ? odd[k] : 12.5f + (float)i;
                for (int decimals = -1; decimals <= 5; decimals++)
                    check(values, count, decimals);
            }
}

/* Every writer of JSON gets them with commas between, within its cap to the byte. */
static void buffers_take_them_within_their_cap(void **state)
{
    float values[300];
    char expected[301 * MD_F32S_TEXT_MAX];
    for (int i = 0; i < 300; i++)
        values[i] = (float)unit_random() * 0x1p-57f;
    size_t length = one_by_one(values, 300, -1, expected) - 1;
    for (size_t cap = length - 2; cap <= length + 1; cap++) {
        struct md_buffer out;
        md_buffer_init(&out, cap);
        md_json_f32s(&out, values, 300, -1);
        assert_int_equal(out.failed, cap < length ? MD_ERR_TOO_LARGE : MD_OK);
        if (cap >= length) {
            assert_int_equal(out.length, length);
            assert_memory_equal(out.data, expected + 1, length + 1 - 1);
            assert_int_equal(out.data[length], '\0');
        }
        md_buffer_fini(&out);
    }
}

/* Positive and negative patterns from `begin` to `end`, in steps. */
static void check_patterns(uint32_t begin, uint32_t end, uint32_t step)
{
    float values[BLOCK];
    uint32_t held = 0;
    for (uint64_t bits = begin; bits < end; bits += step) {
        values[held++] = from_bits((uint32_t)bits);
        values[held++] = from_bits((uint32_t)bits | 0x80000000u);
        if (held == BLOCK) {
            check(values, held, -1);
            held = 0;
        }
    }
    check(values, held, -1);
}

static void all_patterns_are_written_alike(void **state)
{
    const char *full = getenv("MOONDIAL_FULL");
    bool all = full != NULL && strcmp(full, "1") == 0;
    const uint32_t low = 0x38D1B717, high = 0x4E6E6B28; /* 1e-4 and 1e9 */
    check_patterns(0, low, all ? 5003 : 200003);
    check_patterns(low, high, all ? 1 : 1009);
    check_patterns(high, 0x7F800000, all ? 5003 : 200003);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_exponent_is_written_alike),
        cmocka_unit_test(numbers_of_few_digits_are_written_alike),
        cmocka_unit_test(ties_are_written_alike),
        cmocka_unit_test(odd_numbers_and_counts_are_written_alike),
        cmocka_unit_test(buffers_take_them_within_their_cap),
        cmocka_unit_test(all_patterns_are_written_alike),
    };
    return cmocka_run_group_tests_name("f32s", tests, NULL, NULL);
}
