/*
 * What only kernels meet while work runs, on the emulated device: numbers that outgrow float16 in
 * the middle of a model whose outputs are finite all the same, and indices outside their axis. The
 * run is done again by the CPU, which gives the right numbers, or says what is wrong.
 */
#include <math.h>
#include <string.h>

#include "emulated_model.h"
#include "unit.h"

/* 0.5 * 400 * 400 does not fit, and what Reciprocal makes of infinity looks like any number. */
static void test_hidden_overflow_is_computed_again(void **state)
{
    struct md_tensor out;
    emulated_build("x[n]; a=Mul(x, 400.0); b=Mul(a, 400.0); y=Reciprocal(b); -> y",
                   MD_PRECISION_F16);
    for (int times = 0; times < 3; times++) { /* cold, warm, captured */
        int64_t before = emulated_repeated();
        assert_int_equal(emulated_run((const float[]){0.5f, 0.25f}, 2, &out), MD_OK);
        assert_true(fabsf(((const float *)out.data)[0] * 80000 - 1) < 1e-6f);
        md_tensor_unref(&out);
        assert_int_equal(emulated_repeated(), before + 1);
        assert_int_equal(emulated_run((const float[]){0.125f, -0.25f}, 2, &out), MD_OK);
        md_tensor_unref(&out);
        assert_int_equal(emulated_repeated(), before + 1);
    }
    emulated_drop();
}

/* The NaN that is read outside leaves no trace in an output of integers. */
static void test_index_outside_is_the_models_error(void **state)
{
    struct md_tensor out;
    emulated_build("x[n]; i=Cast(x, to=7); g=Gather([1.5,0.5,2.5], i, axis=0); "
                   "y=Cast(Greater(g, 2.0), to=6); -> y",
                   MD_PRECISION_F16);
    for (int times = 0; times < 3; times++) {
        int64_t before = emulated_repeated();
        assert_int_equal(emulated_run((const float[]){0, 2, -3}, 3, &out), MD_OK);
        assert_int_equal(((const int32_t *)out.data)[1], 1);
        assert_int_equal(((const int32_t *)out.data)[2], 0);
        md_tensor_unref(&out);
        assert_int_equal(emulated_repeated(), before);
        assert_int_equal(emulated_run((const float[]){0, 3, 1}, 3, &out), MD_ERR_UNPROCESSABLE);
        assert_non_null(strstr(emulated.err.text, "Gather"));
        assert_int_equal(emulated_repeated(), before + 1);
    }
    emulated_drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hidden_overflow_is_computed_again),
        cmocka_unit_test(test_index_outside_is_the_models_error),
    };
    return cmocka_run_group_tests(tests, emulated_open, emulated_close);
}
