/*
 * 16-bit floats, exhaustively: every pattern widens to the number its fields spell and comes back;
 * narrowing is checked on both sides of, and exactly at, every midpoint between neighbours.
 */
#include <math.h>
#include <string.h>

#include "tensor/tensor.h"
#include "unit.h"

/* The definition, in double arithmetic. */
static double spelled(unsigned bits, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    double fraction = (double)(bits & ((1u << fraction_bits) - 1)) / (double)(1u << fraction_bits);
    double sign = bits & 0x8000u ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction == 0 ? sign * INFINITY : NAN;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias);
    return sign * ldexp(1 + fraction, exponent - bias);
}

struct format {
    int exponent_bits, fraction_bits;
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
};

static const struct format formats[] = {
    {5, 10, md_f16_to_f32, md_f32_to_f16},
    {8, 7, md_bf16_to_f32, md_f32_to_bf16},
};

static void every_pattern_widens_and_returns(void **state)
{
    for (int f = 0; f < 2; f++) {
        const struct format *format = &formats[f];
        for (unsigned bits = 0; bits < 65536; bits++) {
            double wanted = spelled(bits, format->exponent_bits, format->fraction_bits);
            float value = format->widen((uint16_t)bits);
            uint16_t back = format->narrow(value);
            if (isnan(wanted)) {
                assert_true(isnan(value));
                assert_true(isnan(format->widen(back)));
                assert_int_equal(back & 0x8000u, bits & 0x8000u);
                continue;
            }
            assert_true((double)value == wanted);
            assert_int_equal(!!signbit(value), bits >> 15);
            assert_int_equal(back, bits);
        }
    }
}

static void midpoints_round_to_even(void **state)
{
    for (int f = 0; f < 2; f++) {
        const struct format *format = &formats[f];
        unsigned infinity = ((1u << format->exponent_bits) - 1) << format->fraction_bits;
        for (unsigned bits = 0; bits < infinity; bits++) {
            /* The step below infinity is the one before it again, as rounding sees it. */
            double low = format->widen((uint16_t)bits);
            double high = bits + 1 < infinity ? format->widen((uint16_t)(bits + 1))
                                              : 2 * low - format->widen((uint16_t)(bits - 1));
            float middle = (float)((low + high) / 2);
            assert_true((double)middle == (low + high) / 2);
            assert_int_equal(format->narrow(middle), bits + (bits & 1));
            assert_int_equal(format->narrow(nextafterf(middle, 0)), bits);
            assert_int_equal(format->narrow(nextafterf(middle, INFINITY)), bits + 1);
            assert_int_equal(format->narrow(-middle), (bits + (bits & 1)) | 0x8000u);
        }
    }
}

static void extremes_saturate_or_vanish(void **state)
{
    assert_int_equal(md_f32_to_f16(65519.996f), 0x7BFF);
    assert_int_equal(md_f32_to_f16(65520), 0x7C00);
    assert_int_equal(md_f32_to_f16(-3e38f), 0xFC00);
    assert_int_equal(md_f32_to_f16(1e-45f), 0);
    assert_int_equal(md_f32_to_f16(-1e-30f), 0x8000);
    assert_int_equal(md_f32_to_bf16(3.4e38f), 0x7F80);
    assert_int_equal(md_f32_to_bf16(-0.0f), 0x8000);
}

static void a_nan_with_a_low_payload_stays_a_nan(void **state)
{
    uint32_t bits = 0x7F800001u;
    float value;
    memcpy(&value, &bits, sizeof value);
    assert_true(isnan(md_f16_to_f32(md_f32_to_f16(value))));
    assert_true(isnan(md_bf16_to_f32(md_f32_to_bf16(value))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern_widens_and_returns),
        cmocka_unit_test(midpoints_round_to_even),
        cmocka_unit_test(extremes_saturate_or_vanish),
        cmocka_unit_test(a_nan_with_a_low_payload_stays_a_nan),
    };
    return cmocka_run_group_tests_name("half", tests, NULL, NULL);
}
