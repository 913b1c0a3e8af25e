/*
 * The geometry of the CUDA kernels' launches, for sizes that no test could run: what is launched is
 * something that every GPU takes, covers the work or goes on by a stride, and nothing is launched
 * for nothing. Launches are noted and not done.
 */
#include "unit.h"

#include "kernels/cuda/index.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantize.h"

/* Never read: launches are only noted. At a multiple of 16, as memory of a plan is. */
static void *const somewhere = (void *)4096;

static int64_t threads_of(const struct md__cuda_launch *launch)
{
    return (int64_t)launch->grid[0] * launch->grid[1] * launch->grid[2] * launch->block[0] *
           launch->block[1] * launch->block[2];
}

static void assert_possible(void)
{
    struct md__cuda_launch launch = md__cuda_launch_last();
    assert_in_range(launch.grid[0], 1, 0x7fffffff);
    assert_in_range(launch.grid[1], 1, 65535);
    assert_in_range(launch.grid[2], 1, 65535);
    assert_in_range(launch.block[0] * launch.block[1] * launch.block[2], 1, 1024);
    assert_int_equal(launch.block[0] * launch.block[1] * launch.block[2] % 32, 0);
    assert_in_range(launch.shared_bytes, 0, 48 << 10);
}

static const int64_t counts[] = {
    1, 31, 32, 33, 255, 256, 257, 65535, (int64_t)1 << 31, ((int64_t)1 << 33) + 1};
static const int float_storages[] = {MD__CUDA_F32, MD__CUDA_F16, MD__CUDA_BF16};

static int note_only(void **state)
{
    md__cuda_launch_only_note(true);
    return 0;
}

static int do_again(void **state)
{
    md__cuda_launch_only_note(false);
    return 0;
}

static void test_elementwise(void **state)
{
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (int s = 0; s < 3; s++) {
            struct md__cuda_map map = {
                .rank = 1, .count = counts[i], .dim = {counts[i]}, .stride = {{1}, {1}, {1}}};
            assert_int_equal(md__cuda_unary(NULL, float_storages[s], MD__CUDA_TANH, 0, 0, somewhere,
                                            somewhere, counts[i]),
                             0);
            assert_possible();
            assert_int_equal(md__cuda_binary(NULL, float_storages[s], MD__CUDA_PAIR_ADD, 1, 1, &map,
                                             somewhere, somewhere, somewhere),
                             0);
            assert_possible();
            assert_int_equal(md__cuda_move(NULL, 2, &map, somewhere, somewhere), 0);
            assert_possible();
        }
}

/* As many threads as elements, or packs of elements, while the grid does not go on by a stride. */
static void test_small_work_has_a_thread_each(void **state)
{
    assert_int_equal(md__cuda_cast(NULL, MD__CUDA_F32, MD__CUDA_I64, somewhere, somewhere, 1000),
                     0);
    struct md__cuda_launch launch = md__cuda_launch_last();
    assert_in_range(threads_of(&launch), 1000, 1000 + 255);
    assert_int_equal(
        md__cuda_unary(NULL, MD__CUDA_F16, MD__CUDA_RELU, 0, 0, somewhere, somewhere, 8192), 0);
    launch = md__cuda_launch_last();
    assert_int_equal(threads_of(&launch), 1024);
}

static void test_products(void **state)
{
    static const int64_t sizes[] = {1, 32, 33, 1000, 4000000};
    for (int r = 0; r < 5; r++)
        for (int c = 0; c < 4; c++)
            for (int b = 0; b < 4; b++) {
                struct md__cuda_product product = {
                    .storage = MD__CUDA_F16,
                    .rows = sizes[r],
                    .columns = sizes[c],
                    .inner = 17,
                    .batch = {.rank = 1, .count = b ? 99999 : 1, .dim = {b ? 99999 : 1}}};
                assert_int_equal(md__cuda_product(NULL, &product), 0);
                assert_possible();
                struct md__cuda_launch launch = md__cuda_launch_last();
                int64_t tile = launch.block[0] == 256 ? 64 : 32;
                assert_true(launch.grid[0] * tile >= sizes[r]);
                assert_true(launch.grid[1] * tile >= sizes[c]);
            }
}

static void test_lines_and_recurrences(void **state)
{
    static const int64_t lengths[] = {1, 2, 64, 65, 512, 513, 100000};
    for (int i = 0; i < 7; i++) {
        assert_int_equal(md__cuda_lines(NULL, MD__CUDA_F16, MD__CUDA_LINE_SOFTMAX, somewhere,
                                        somewhere, 5000000, lengths[i], 1),
                         0);
        assert_possible();
        struct md__cuda_row_norm norm = {
            .storage = MD__CUDA_BF16, .rows = 3000000, .n = lengths[i]};
        assert_int_equal(md__cuda_row_norm(NULL, &norm), 0);
        assert_possible();
    }
    for (int64_t units = 1; units <= 1024; units += 93) {
        struct md__cuda_recurrent recurrent = {.storage = MD__CUDA_F16,
                                               .steps = 288,
                                               .batch = 500,
                                               .units = units,
                                               .gates = 4,
                                               .directions = 2};
        assert_int_equal(md__cuda_recurrent(NULL, &recurrent), 0);
        assert_possible();
    }
}

static void test_sums_and_caches(void **state)
{
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct md__cuda_contraction sums = {
            .storage = MD__CUDA_F16, .operands = 2, .kept = {.count = counts[i]}};
        struct md__cuda_cache_fill fill = {
            .outer = counts[i], .per_batch = 1, .length = 1, .most = 8, .run = 3};
        for (int64_t terms = 10; terms < 100000; terms *= 10) {
            sums.inside.count = terms;
            assert_int_equal(md__cuda_contract(NULL, &sums), 0);
            assert_possible();
        }
        assert_int_equal(md__cuda_fill_cache(NULL, 2, &fill, somewhere, somewhere), 0);
        assert_possible();
        assert_int_equal(md__cuda_count_ones(NULL, NULL, somewhere, counts[i], 4), 0);
        assert_possible();
    }
    struct md__cuda_packed_product product = {
        .storage = MD__CUDA_F16, .bits = 4, .rows = 4096, .inner = 64, .columns = 256000};
    product.block = 32;
    assert_int_equal(md__cuda_packed_product(NULL, &product), 0);
    assert_possible();
}

static void test_nothing_launches_nothing(void **state)
{
    int64_t before = md__cuda_launch_count();
    struct md__cuda_map none = {.rank = 1};
    struct md__cuda_product product = {.storage = MD__CUDA_F32, .batch = {.rank = 1, .count = 1}};
    struct md__cuda_row_norm norm = {.storage = MD__CUDA_F32, .n = 4};
    assert_int_equal(md__cuda_unary(NULL, MD__CUDA_F32, MD__CUDA_EXP, 0, 0, NULL, NULL, 0), 0);
    assert_int_equal(md__cuda_move(NULL, 4, &none, NULL, NULL), 0);
    assert_int_equal(md__cuda_product(NULL, &product), 0);
    assert_int_equal(md__cuda_row_norm(NULL, &norm), 0);
    assert_int_equal(md__cuda_launch_count(), before);
}

static void test_what_is_not_done_is_refused(void **state)
{
    struct md__cuda_map one = {.rank = 1, .count = 1, .dim = {1}};
    assert_int_equal(md__cuda_unary(NULL, 11, MD__CUDA_EXP, 0, 0, somewhere, somewhere, 1),
                     MD__CUDA_REFUSED);
    assert_int_equal(md__cuda_move(NULL, 3, &one, somewhere, somewhere), MD__CUDA_REFUSED);
    assert_string_equal(md__cuda_error_text(MD__CUDA_REFUSED), "a kernel got what it does not do");
    assert_string_equal(md__cuda_error_text(9), "invalid configuration argument");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_small_work_has_a_thread_each),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_lines_and_recurrences),
        cmocka_unit_test(test_sums_and_caches),
        cmocka_unit_test(test_nothing_launches_nothing),
        cmocka_unit_test(test_what_is_not_done_is_refused),
    };
    return cmocka_run_group_tests(tests, note_only, do_again);
}
