/*
 * Values whose shape depends on data: what rules and kernels use to say so.
 */
#include <string.h>

#include "graph/evaluate.h"
#include "unit.h"

static struct md_error err;

static void a_rule_asks_for_contents(void **state)
{
    bool asked[2] = {false, false};
    const struct md_value_info in[2] = {
        {.dtype = MD_F32, .asked = &asked[0]},
        {.dtype = MD_I64, .shape = {1, {2}}, .asked = &asked[1]},
    };
    int64_t ints[MD_RANK_MAX];
    int count;
    assert_int_equal(md__infer_ints(in, 1, "shape", ints, MD_RANK_MAX, &count, &err),
                     MD_ERR_PENDING);
    assert_false(asked[0]);
    assert_true(asked[1]);
    assert_string_equal(err.text, "shape (input 1) depends on data");
    /* An empty list has no contents to ask for. */
    const struct md_value_info none = {.dtype = MD_I64, .shape = {1, {0}}};
    assert_ok(md__infer_ints(&none, 0, "axes", ints, MD_RANK_MAX, &count, &err));
    assert_int_equal(count, 0);
}

static void a_kernel_makes_the_output_that_no_plan_knew(void **state)
{
    struct md_tensor out[2] = {{.dtype = MD_I64}, {.dtype = MD_F32}};
    struct md_tail tail = {.bytes_max = 100};
    const struct md_kernel_call call = {.out = out, .out_count = 2, .tail = &tail};
    const struct md_shape three_by_four = {2, {3, 4}}, none = {2, {3, 0}}, endless = {1, {-1}};
    assert_ok(md_kernel_output(&call, 0, &three_by_four, &err));
    assert_int_equal(tail.bytes, 96);
    assert_int_equal(((int64_t *)out[0].data)[11], 0);
    assert_int_equal(md_kernel_output(&call, 0, &none, &err), MD_ERR_INTERNAL);
    assert_int_equal(md_kernel_output(&call, 1, &three_by_four, &err), MD_ERR_TOO_LARGE);
    assert_int_equal(md_kernel_output(&call, 1, &endless, &err), MD_ERR_INVALID);
    assert_null(out[1].data);
    assert_ok(md_kernel_output(&call, 1, &none, &err));
    assert_non_null(out[1].data);
    assert_int_equal(tail.bytes, 96);
    md_tensor_unref(&out[0]);
    md_tensor_unref(&out[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_asks_for_contents),
        cmocka_unit_test(a_kernel_makes_the_output_that_no_plan_knew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
