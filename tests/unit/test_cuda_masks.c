/*
 * What 16 bits do to masks and sums, on the emulated device: a mask constant beyond float16 hides
 * what it hides, sums pass what float16 can hold on their way, and what outgrows it is told.
 */
#include <math.h>

#include "unit.h"

#include "graph/device_host.h"
#include "graph/device_internal.h"
#include "kernels/cuda/attention.h"
#include "tensor/tensor.h"

#define N 40

static void fill(uint16_t *x, int count, float value)
{
    for (int i = 0; i < count; i++)
        x[i] = md_f32_to_f16(value);
}

static void test_mask_constants_fit(void **state)
{
    const float masks[] = {-1e9f, -3.4e38f, 1e9f, -INFINITY, 65504, -1};
    const float stored[] = {-65504, -65504, 65504, -INFINITY, 65504, -1};
    uint16_t narrow[6];
    assert_int_equal(md__cuda_convert(NULL, MD__CUDA_F32, MD__CUDA_F16, masks, narrow, 6), 0);
    for (int i = 0; i < 6; i++)
        assert_true(md_f16_to_f32(narrow[i]) == stored[i]);
}

static unsigned noticed(void)
{
    struct md_device_driver driver;
    md_device_host_driver(&driver, "masks", NULL);
    return driver.notices(NULL);
}

/* As on the CPU: a line of infinities has no shares. What made one of finite numbers is told. */
static void test_a_line_that_outgrows_is_told(void **state)
{
    uint16_t scores[2 * N], mask[2 * N], sum[2 * N], shares[2 * N];
    struct md__cuda_map map = {
        .rank = 1, .count = (int64_t)2 * N, .dim = {(int64_t)2 * N}, .stride = {{1}, {1}}};
    fill(scores, 2 * N, -100);
    fill(mask, 2 * N, -INFINITY);
    mask[N] = md_f32_to_f16(0); /* one key of the second line is seen */
    noticed();
    assert_int_equal(
        md__cuda_binary(NULL, MD__CUDA_F16, MD__CUDA_PAIR_ADD, 1, 1, &map, scores, mask, sum), 0);
    assert_int_equal(
        md__cuda_lines(NULL, MD__CUDA_F16, MD__CUDA_LINE_SOFTMAX, sum, shares, 2, N, 1), 0);
    for (int i = 0; i < N; i++) {
        assert_true(isnan(md_f16_to_f32(shares[i])));
        assert_true(md_f16_to_f32(shares[N + i]) == (i == 0));
    }
    assert_int_equal(noticed(), 0); /* infinite numbers were given */
    fill(mask, 2 * N, -65504);
    assert_int_equal(
        md__cuda_binary(NULL, MD__CUDA_F16, MD__CUDA_PAIR_ADD, 1, 1, &map, scores, mask, sum), 0);
    assert_true(isinf(md_f16_to_f32(sum[0])));
    assert_int_equal(noticed(), MD_DEVICE_OVERFLOW);
    assert_int_equal(noticed(), 0);
}

/* What a model's mask becomes when it is stored (device_memory.c): sums of two stay finite. */
static void test_masks_of_models_add_up(void **state)
{
    float masks[] = {-1e9f, -3.4e38f, -INFINITY, -100};
    md__device_lift_masks(MD_F16, masks, 4);
    for (int i = 0; i < 2; i++) {
        assert_true(isfinite(md_f16_to_f32(md_f32_to_f16(2 * masks[i] - 1000))));
        assert_true(expf(masks[i] + 1000) == 0);
    }
    assert_true(isinf(masks[2]) && masks[3] == -100);
}

static void test_sums_pass_float16(void **state)
{
    static uint16_t x[4096];
    uint16_t y = 0;
    struct md__cuda_map one = {.rank = 1, .count = 1, .dim = {1}};
    struct md__cuda_map all = {.rank = 1, .count = 4096, .dim = {4096}, .stride = {{1}}};
    fill(x, 4096, 200);
    assert_int_equal(md__cuda_reduce(NULL, MD__CUDA_F16, MD__CUDA_REDUCE_MEAN, &one, &all, x, &y),
                     0);
    assert_true(md_f16_to_f32(y) == 200);
    assert_int_equal(md__cuda_reduce(NULL, MD__CUDA_F16, MD__CUDA_REDUCE_L2, &one, &all, x, &y), 0);
    assert_true(md_f16_to_f32(y) == 12800);
    noticed();
    assert_int_equal(md__cuda_reduce(NULL, MD__CUDA_F16, MD__CUDA_REDUCE_SUM, &one, &all, x, &y),
                     0);
    assert_int_equal(noticed(), MD_DEVICE_OVERFLOW);
}

static void test_attention_without_keys_is_finite(void **state)
{
    uint16_t q[8], k[8 * 3], v[8 * 3], y[8];
    const uint8_t hidden[3] = {1, 1, 1}, seen[3] = {0, 0, 0};
    fill(q, 8, 1);
    fill(k, 24, 1);
    fill(v, 24, 3);
    struct md__cuda_shared_attention shared = {.storage = MD__CUDA_F16,
                                               .batch = 1,
                                               .queries = 1,
                                               .keys = 3,
                                               .heads = 2,
                                               .size = 4,
                                               .v_width = 8,
                                               .scale = 1,
                                               .mask_bias = -1e9f,
                                               .q = q,
                                               .k = k,
                                               .v = v,
                                               .mask = hidden,
                                               .y = y};
    assert_int_equal(md__cuda_shared_attention(NULL, &shared), 0);
    assert_true(md_f16_to_f32(y[0]) == 3); /* equal weights, as in PyTorch */
    struct md__cuda_attention plain = {.storage = MD__CUDA_F16,
                                       .mask_is_bool = true,
                                       .batch = 1,
                                       .heads = 1,
                                       .kv_heads = 1,
                                       .queries = 1,
                                       .keys = 3,
                                       .width = 8,
                                       .v_width = 8,
                                       .q_at = {8, 8, 8},
                                       .k_at = {24, 24, 8},
                                       .v_at = {24, 24, 8},
                                       .y_at = {8, 8, 8},
                                       .mask_stride = {0, 0, 0, 1},
                                       .mask_keys = 3,
                                       .left = -1,
                                       .right = -1,
                                       .scale = 1,
                                       .q = q,
                                       .k = k,
                                       .v = v,
                                       .mask = seen,
                                       .y = y};
    assert_int_equal(md__cuda_attention(NULL, &plain), 0);
    assert_true(md_f16_to_f32(y[0]) == 0); /* as the standard's Attention has it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask_constants_fit),
        cmocka_unit_test(test_a_line_that_outgrows_is_told),
        cmocka_unit_test(test_masks_of_models_add_up),
        cmocka_unit_test(test_sums_pass_float16),
        cmocka_unit_test(test_attention_without_keys_is_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
