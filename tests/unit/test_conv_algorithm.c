/*
 * A convolution over 3 x 3 taps is packed for Winograd's method, several times as large as its
 * weights; one whose weights that method would blow up is not. Its check of its own error at load
 * decides: were it to refuse all, results would stay right and networks become slow.
 */
#include "graph/executable.h"
#include "kernels/cpu/cpu.h"
#include "programs.h"
#include "unit.h"

static size_t packed_bytes(const char *program, const struct md_shape *shape)
{
    struct md_error err;
    struct md_executable *executable;
    struct md_plan_report report;
    struct md_pool *pool = NULL;
    assert_ok(md_pool_new(1, 0, &pool, &err));
    const struct md_executable_options options = {
        .backend = md_cpu_backend(MD_ISA_BEST), .reference = md_cpu_reference(), .pool = pool};
    assert_ok(md_executable_new(program_graph(program), &options, &executable, &err));
    assert_ok(md_executable_plan(executable, shape, 1, &err));
    assert_ok(md_executable_report(executable, &report, &err));
    md_executable_delete(executable);
    md_pool_delete(pool);
    return report.prepared_bytes;
}

static void test_winograd_is_chosen(void **state)
{
    const struct md_shape shape = {4, {1, 64, 56, 56}};
    const size_t weights = 64 * 64 * 9 * sizeof(float);
    assert_true(packed_bytes("x[1,64,56,56]; w{64,64,3,3}; y = Conv(x, w, pads=[1,1,1,1]); -> y",
                             &shape) > 3 * weights / 2);
    assert_true(packed_bytes("x[1,64,56,56]; w{64,64,3,3}; y = Relu(Conv(x, w)); -> y", &shape) >
                3 * weights / 2);
    assert_true(packed_bytes("x[1,64,56,56]; w{64,64,3,3}; y = Conv(x, w, strides=[2,2]); -> y",
                             &shape) < 3 * weights / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_winograd_is_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
