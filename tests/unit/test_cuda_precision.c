/*
 * Precision auto on the emulated device: 16 bits where they do, bfloat16 for what outgrows float16,
 * float32 for what is off, decided by the first run of a storage; a precision by name is kept.
 */
#include <math.h>

#include "emulated_model.h"
#include "unit.h"

static const char *precision(void)
{
    static struct md_plan_report report;
    assert_int_equal(md_executable_report(emulated.executable, &report, &emulated.err), MD_OK);
    return report.precision;
}

static void check(const char *program, enum md_precision asked, float x, float wanted,
                  const char *settled)
{
    struct md_tensor out;
    emulated_build(program, asked);
    for (int times = 0; times < 3; times++) {
        assert_int_equal(emulated_run(&x, 1, &out), MD_OK);
        assert_true(fabsf(((const float *)out.data)[0] / wanted - 1) < 5e-3f);
        md_tensor_unref(&out);
        assert_string_equal(precision(), settled);
    }
    emulated_drop();
}

static void test_float16_is_kept_where_it_does(void **state)
{
    int64_t before = emulated_repeated();
    check("x[n]; a=Mul(x, 3.0); y=Sqrt(a); -> y", MD_PRECISION_AUTO, 12, 6, "fp16");
    assert_int_equal(emulated_repeated(), before);
}

static void test_what_outgrows_float16_is_bfloat16(void **state)
{
    int64_t before = emulated_repeated();
    check("x[n]; a=Mul(x, 400.0); b=Mul(a, 400.0); y=Reciprocal(b); -> y", MD_PRECISION_AUTO, 0.5f,
          1.0f / 80000, "bf16");
    assert_int_equal(emulated_repeated(), before + 1);
}

/* 2e-7 is three steps of float16, or four. */
static void test_what_is_off_is_float32(void **state)
{
    check("x[n]; a=Mul(x, 0.0001); b=Mul(a, 0.01); y=Sqrt(b); -> y", MD_PRECISION_AUTO, 0.2f,
          4.472136e-4f, "fp32");
}

/* A request far from those before it: answered by the CPU, and the model is wider from then on. */
static void test_a_late_number_widens_too(void **state)
{
    struct md_tensor out;
    emulated_build("x[n]; a=Mul(x, 400.0); b=Mul(a, 400.0); y=Reciprocal(b); -> y",
                   MD_PRECISION_AUTO);
    const float given[] = {0.25f, 0.5f, 0.5f};
    const char *const wanted[] = {"fp16", NULL, "bf16"}; /* the CPU's plan tells of none */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(emulated_run(&given[i], 1, &out), MD_OK);
        assert_true(fabsf(((const float *)out.data)[0] * given[i] * 160000 - 1) < 5e-3f);
        md_tensor_unref(&out);
        if (wanted[i])
            assert_string_equal(precision(), wanted[i]);
    }
    emulated_drop();
}

/* At 3,000 float16 has steps of 2. */
static void test_what_follows_the_last_product_is_not_rounded(void **state)
{
    const float x[] = {1.5f, 0.5f};
    struct md_tensor out;
    emulated_build("x[n]; a=MatMul(x, x); b=Mul(a, 0.001); y=Add(b, 3000.0); -> y",
                   MD_PRECISION_F16);
    assert_int_equal(emulated_run(x, 2, &out), MD_OK);
    assert_true(fabsf(((const float *)out.data)[0] - 3000.0025f) < 5e-4f);
    md_tensor_unref(&out);
    assert_string_equal(precision(), "fp16");
    emulated_drop();
}

static void test_a_precision_by_name_is_kept(void **state)
{
    struct md_tensor out;
    emulated_build("x[n]; a=Mul(x, 0.0001); b=Mul(a, 0.01); y=Sqrt(b); -> y", MD_PRECISION_F16);
    for (int times = 0; times < 2; times++) {
        assert_int_equal(emulated_run(&(const float){0.2f}, 1, &out), MD_OK);
        md_tensor_unref(&out);
        assert_string_equal(precision(), "fp16");
    }
    emulated_drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float16_is_kept_where_it_does),
        cmocka_unit_test(test_what_outgrows_float16_is_bfloat16),
        cmocka_unit_test(test_what_is_off_is_float32),
        cmocka_unit_test(test_a_late_number_widens_too),
        cmocka_unit_test(test_what_follows_the_last_product_is_not_rounded),
        cmocka_unit_test(test_a_precision_by_name_is_kept),
    };
    return cmocka_run_group_tests(tests, emulated_open, emulated_close);
}
