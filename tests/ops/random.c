/*
 * Random operators: their distributions, and what repeats: a node made ready again gives the same
 * runs, whatever the number of threads; its runs differ among each other.
 */
#include <math.h>
#include <string.h>

#include "unit.h"

#include "kernels/cpu/cpu.h"
#include "op_case.h"

enum { DRAWS = 20000 };

/* Makes the case ready and runs it `runs` times; the last run's output 0 goes to `to`. */
static void draw(const struct op_case *op_case, struct md_pool *pool, int runs, void *to)
{
    struct md_error err;
    struct op_run run;
    struct op_ready ready;
    const struct md_kernel *kernel = md_cpu_reference()->kernels[op_case->op];
    op_run_init(&run, op_case);
    assert_int_equal(op_ready_init(&ready, &run, kernel, pool, &err), OP_DONE);
    for (int i = 0; i < runs; i++)
        assert_ok(kernel->run(&ready.call, &err));
    memcpy(to, run.out[0].data, md_tensor_bytes(&run.out[0]));
    op_ready_fini(&ready);
    op_run_fini(&run);
}

static double mean(const float *x, int power)
{
    double sum = 0;
    for (int i = 0; i < DRAWS; i++)
        sum += pow((double)x[i], power);
    return sum / DRAWS;
}

static const struct op_case uniform = {.name = "uniform",
                                       .op = MD_OP_RANDOM_UNIFORM,
                                       .out = {F32(DRAWS)},
                                       .attrs = {FLOAT("low", 2), FLOAT("high", 5)}};
static const struct op_case seeded = {
    .name = "uniform",
    .op = MD_OP_RANDOM_UNIFORM,
    .out = {F32(DRAWS)},
    .attrs = {FLOAT("low", 2), FLOAT("high", 5), FLOAT("seed", 7)}};

static float a[DRAWS], b[DRAWS];

static void test_uniform_numbers_fill_their_range(void **state)
{
    draw(&uniform, NULL, 1, a);
    for (int i = 0; i < DRAWS; i++)
        assert_true(a[i] >= 2 && a[i] < 5);
    assert_true(fabs(mean(a, 1) - 3.5) < 0.03); /* five standard errors */
    assert_true(fabs(mean(a, 2) - 13) < 0.25);
}

static void test_normal_numbers_have_their_moments(void **state)
{
    const struct op_case normal = {.name = "normal",
                                   .op = MD_OP_RANDOM_NORMAL_LIKE,
                                   .in = {F32(DRAWS)},
                                   .out = {F32(DRAWS)},
                                   .attrs = {FLOAT("mean", 1), FLOAT("scale", 2)}};
    draw(&normal, NULL, 1, a);
    assert_true(fabs(mean(a, 1) - 1) < 0.08);
    assert_true(fabs(mean(a, 2) - 5) < 0.3);
    assert_true(fabs(mean(a, 3) - 13) < 2.5);
}

static void test_runs_differ_and_repeat(void **state)
{
    draw(&uniform, NULL, 1, a);
    draw(&uniform, NULL, 2, b);
    assert_memory_not_equal(a, b, sizeof a);
    draw(&uniform, NULL, 2, a);
    assert_memory_equal(a, b, sizeof a);
    draw(&seeded, NULL, 2, b);
    assert_memory_not_equal(a, b, sizeof a);
}

static void test_threads_do_not_matter(void **state)
{
    struct md_pool *pool;
    struct md_error err;
    assert_ok(md_pool_new(3, 0, &pool, &err));
    draw(&seeded, pool, 1, a);
    md_pool_delete(pool);
    draw(&seeded, NULL, 1, b);
    assert_memory_equal(a, b, sizeof a);
}

static void test_bernoulli_draws_its_share(void **state)
{
    const double share = 0.3;
    const struct op_case bernoulli = {.name = "bernoulli",
                                      .op = MD_OP_BERNOULLI,
                                      .in = {{.dtype = MD_F32,
                                              .shape = {1, {DRAWS}},
                                              .fill = OP_VALUES,
                                              .values = &share,
                                              .value_count = 1}},
                                      .out = {F32(DRAWS)}};
    draw(&bernoulli, NULL, 1, a);
    for (int i = 0; i < DRAWS; i++)
        assert_true(a[i] == 0 || a[i] == 1);
    assert_true(fabs(mean(a, 1) - share) < 0.02);
}

/* Logarithms of probabilities that do not add up to 1: 1/8, 0, 3/8 of 1/2. */
static void test_multinomial_draws_classes(void **state)
{
    const double logs[3] = {log(0.125), -INFINITY, log(0.375)};
    const struct op_case multinomial = {.name = "multinomial",
                                        .op = MD_OP_MULTINOMIAL,
                                        .in = {{.dtype = MD_F32,
                                                .shape = {2, {1, 3}},
                                                .fill = OP_VALUES,
                                                .values = logs,
                                                .value_count = 3}},
                                        .out = {TENSOR(MD_I32, 1, DRAWS)},
                                        .attrs = {INT("sample_size", DRAWS)}};
    static int32_t classes[DRAWS];
    int counts[3] = {0};
    draw(&multinomial, NULL, 1, classes);
    for (int i = 0; i < DRAWS; i++) {
        assert_in_range(classes[i], 0, 2);
        counts[classes[i]]++;
    }
    assert_int_equal(counts[1], 0);
    assert_true(fabs((double)counts[0] / DRAWS - 0.25) < 0.02);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uniform_numbers_fill_their_range),
        cmocka_unit_test(test_normal_numbers_have_their_moments),
        cmocka_unit_test(test_runs_differ_and_repeat),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_bernoulli_draws_its_share),
        cmocka_unit_test(test_multinomial_draws_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
