/*
 * Numbers as text: each reads back, none is longer than it must be, and of the shortest ones it is
 * the nearest. printf with one digit more at a time is the reference.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/f64text.h"
#include "unit.h"

/* Significant digits of a number's text. */
static int digits_in(const char *text)
{
    int digits = 0, zeros = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (digits == 0 && *text == '0'))
            continue;
        zeros = *text == '0' ? zeros + 1 : 0;
        digits++;
    }
    return digits - zeros;
}

static void check_f64(double value)
{
    char text[MD_NUMBER_TEXT_MAX], reference[64];
    size_t length = md_f64_text(value, text);
    assert_int_equal(length, strlen(text));
    assert_true(length < MD_NUMBER_TEXT_MAX);
    if (strtod(text, NULL) != value)
        fail_msg("%.17g reads back as %s", value, text);
    int digits = digits_in(text);
    if (digits > 1) {
        snprintf(reference, sizeof reference, "%.*e", digits - 2, value);
        if (strtod(reference, NULL) == value)
            fail_msg("%s is longer than %s", text, reference);
    }
    /* printf's is the nearest decimal of as many digits; it may not read back, ours must. */
    snprintf(reference, sizeof reference, "%.*e", digits - 1, value);
    if (strtod(reference, NULL) == value)
        assert_true(strtold(text, NULL) == strtold(reference, NULL));
}

static void check_f32(float value)
{
    char text[MD_NUMBER_TEXT_MAX], reference[64];
    size_t length = md_f32_text(value, text);
    assert_int_equal(length, strlen(text));
    if (strtof(text, NULL) != value)
        fail_msg("%.9gf reads back as %s", (double)value, text);
    int digits = digits_in(text);
    if (digits > 1) {
        snprintf(reference, sizeof reference, "%.*e", digits - 2, (double)value);
        if (strtof(reference, NULL) == value)
            fail_msg("%s is longer than %s", text, reference);
    }
    snprintf(reference, sizeof reference, "%.*e", digits - 1, (double)value);
    if (strtof(reference, NULL) == value)
        assert_true(strtold(text, NULL) == strtold(reference, NULL));
}

static const struct {
    double value;
    const char *text;
} known[] = {
    {0, "0"},
    {-0.0, "-0"},
    {1, "1"},
    {-1, "-1"},
    {100, "100"},
    {12345, "12345"},
    {0.1, "0.1"},
    {0.3, "0.3"},
    {0.1 + 0.2, "0.30000000000000004"},
    {2.5, "2.5"},
    {-97.25, "-97.25"},
    {1e-5, "0.00001"},
    {1.5e-6, "0.0000015"},
    {1e-6, "0.000001"},
    {1e-7, "1e-7"},
    {1e20, "100000000000000000000"},
    {1e21, "1e21"},
    {1.5e300, "1.5e300"},
    {9007199254740991, "9007199254740991"},
    {9007199254740993, "9007199254740992"},
    {123456789012345680, "123456789012345680"},
    {5e-324, "5e-324"},
    {DBL_MIN, "2.2250738585072014e-308"},
    {DBL_MAX, "1.7976931348623157e308"},
    {-DBL_MAX, "-1.7976931348623157e308"},
    {9.5367431640625e-07, "9.5367431640625e-7"},
    {NAN, "null"},
    {INFINITY, "null"},
    {-INFINITY, "null"},
};

static void known_numbers_have_known_texts(void **state)
{
    char text[MD_NUMBER_TEXT_MAX];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(md_f64_text(known[i].value, text), strlen(known[i].text));
        assert_string_equal(text, known[i].text);
    }
    md_f32_text(0.1f, text);
    assert_string_equal(text, "0.1");
    md_f32_text(16777216.0f, text);
    assert_string_equal(text, "16777216");
    md_f32_text(FLT_MAX, text);
    assert_string_equal(text, "3.4028235e38");
    md_f32_text(1e-45f, text);
    assert_string_equal(text, "1e-45");
    md_f32_text(NAN, text);
    assert_string_equal(text, "null");
}

static void random_patterns_are_shortest(void **state)
{
    for (int i = 0; i < 60000; i++) {
        uint64_t bits = unit_random();
        double value;
        float narrow;
        memcpy(&value, &bits, sizeof value);
        memcpy(&narrow, &bits, sizeof narrow);
        if (isfinite(value) && value != 0)
            check_f64(value);
        if (isfinite(narrow) && narrow != 0)
            check_f32(narrow);
    }
}

static void numbers_of_daily_size_are_shortest(void **state)
{
    for (int i = 0; i < 60000; i++) {
        double value = ldexp((double)(int64_t)unit_random(), -63 + (int)(unit_random() % 80) - 20);
        check_f64(value);
        check_f32((float)value);
        check_f64((double)(float)value);
    }
}

static void numbers_of_few_decimals_are_shortest(void **state)
{
    for (int i = 0; i < 60000; i++) {
        double value = (double)(unit_random() % 10000000) / pow(10, (double)(unit_random() % 9));
        if (value == 0)
            continue;
        check_f64(value);
        check_f32((float)value);
    }
}

/* Powers of two have a nearer neighbour below; powers of ten try every count of zeros. */
static void powers_and_their_neighbours_are_shortest(void **state)
{
    for (int e = -1074; e < 1024; e++) {
        check_f64(ldexp(1, e));
        check_f64(nextafter(ldexp(1, e), INFINITY));
        if (e > -1074)
            check_f64(nextafter(ldexp(1, e), 0));
    }
    for (int e = -149; e < 128; e++) {
        check_f32(ldexpf(1, e));
        check_f32(nextafterf(ldexpf(1, e), INFINITY));
        if (e > -149)
            check_f32(nextafterf(ldexpf(1, e), 0));
    }
    for (int e = -300; e < 300; e++) {
        check_f64(pow(10, e));
        check_f64(nextafter(pow(10, e), 0));
        if (e > -40 && e < 38)
            check_f32((float)pow(10, e));
    }
}

static const struct {
    double value;
    int decimals;
    const char *text;
} rounded[] = {
    {0, 2, "0"},
    {-0.001, 2, "0"},
    {2.5004, 3, "2.5"},
    {2.5, 0, "2"},
    {3.5, 0, "4"},
    {-2.675, 2, "-2.67"},
    {0.125, 2, "0.12"},
    {0.375, 2, "0.38"},
    {99.999, 2, "100"},
    {1e-300, 9, "0"},
    {5e-324, 9, "0"},
    {123456.789, 1, "123456.8"},
    {9007199254740993, 3, "9007199254740992"},
    {1e300, 2, "1e300"},
    {1e12 + 0.1, 9, "1000000000000.1"},
    {0.1 + 0.2, 9, "0.3"},
    {NAN, 2, "null"},
    {-INFINITY, 0, "null"},
};

static void rounding_is_that_of_printf(void **state)
{
    char text[MD_NUMBER_TEXT_MAX], reference[400];
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
        md_f64_text_rounded(rounded[i].value, rounded[i].decimals, text);
        assert_string_equal(text, rounded[i].text);
    }
    for (int i = 0; i < 60000; i++) {
        int decimals = (int)(unit_random() % (MD_DECIMALS_MAX + 1));
        double value = ldexp((double)(int64_t)unit_random(), -63 + (int)(unit_random() % 40) - 20);
        if (i % 2)
            value = round(value * 1024) / 1024; /* many exact ties */
        size_t length = md_f64_text_rounded(value, decimals, text);
        assert_int_equal(length, strlen(text));
        snprintf(reference, sizeof reference, "%.*f", decimals, value);
        assert_true(strtod(text, NULL) == strtod(reference, NULL));
        char *point = strchr(text, '.');
        if (point)
            assert_true(strlen(point + 1) <= (size_t)decimals && text[length - 1] != '0');
    }
}

/* The fast way for float32 gives the texts of the general one. */
static void check_f32_rounded(float value)
{
    char text[MD_NUMBER_TEXT_MAX], reference[MD_NUMBER_TEXT_MAX];
    for (int decimals = 0; decimals <= MD_DECIMALS_MAX; decimals++) {
        size_t length = md_f32_text_rounded(value, decimals, text);
        assert_int_equal(length, md_f64_text_rounded((double)value, decimals, reference));
        assert_string_equal(text, reference);
    }
}

static void float32_are_rounded_like_float64(void **state)
{
    const float special[] = {0,          -0.0f, NAN,     INFINITY, -INFINITY, 9998.5f,
                             9998.9995f, 9999,  10000,   1e-5f,    5e-5f,     0.9999f,
                             0.99996f,   1e30f, FLT_MIN, FLT_MAX};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        check_f32_rounded(special[i]);
        check_f32_rounded(-special[i]);
    }
    for (int i = -5000; i < 5000; i++)
        check_f32_rounded((float)i / 32); /* exact ties */
    for (int i = 0; i < 30000; i++) {
        uint32_t bits = (uint32_t)unit_random();
        float pattern;
        memcpy(&pattern, &bits, sizeof pattern);
        check_f32_rounded(pattern);
        check_f32_rounded((float)((int64_t)(unit_random() % 24000000) - 12000000) / 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_numbers_have_known_texts),
        cmocka_unit_test(random_patterns_are_shortest),
        cmocka_unit_test(numbers_of_daily_size_are_shortest),
        cmocka_unit_test(numbers_of_few_decimals_are_shortest),
        cmocka_unit_test(powers_and_their_neighbours_are_shortest),
        cmocka_unit_test(rounding_is_that_of_printf),
        cmocka_unit_test(float32_are_rounded_like_float64),
    };
    return cmocka_run_group_tests_name("f64text", tests, NULL, NULL);
}
