/*
 * Quantised networks on the emulated device: what the CPU does on bytes is written out in floats
 * between DequantizeLinear and QuantizeLinear, all of it there, and gives what the reference gives,
 * but for a step where a result falls on a tie.
 */
#include <math.h>

#include "graph/accelerator.h"
#include "graph/device_host.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/kernels.h"
#include "programs.h"
#include "unit.h"

#define LEVELS                                                                                     \
    "zx{}u8; zy{}u8; zw{}i8; "                                                                     \
    "q = QuantizeLinear(Neg(x), 0.01, zx); "
#define OUT "y = DequantizeLinear(r, 0.3, zy); -> y"
#define CONV                                                                                       \
    "x[2,3,7,6]; " LEVELS "w{4,3,3,3}i8; b{4}i32; "                                                \
    "r = QLinearConv(q, 0.01, zx, w, 0.02, zw, 0.3, zy, b, pads=[1,1,1,1]); "
#define DYNAMIC                                                                                    \
    "x[3,5,8]; w{8,6}i8; zw{}i8; s{6}; q qs qz = DynamicQuantizeLinear(Neg(x)); "                  \
    "m = Cast(MatMulInteger(q, w, qz, zw), to=1); "

static const struct {
    const char *program;
    double step; /* of the result; 0: of floats */
} cases[] = {
    {CONV OUT, 0.3},
    {"x[1,8,6,6]; " LEVELS "w{8,1,3,3}i8; z{8}i8; r = QLinearConv(q, 0.01, zx, w, "
     "[0.02,0.01,0.03,0.04,0.02,0.01,0.03,0.04], z, 0.3, zy, group=8, strides=[2,2]); " OUT,
     0.3},
    {"x[5,7]; " LEVELS "w{7,6}i8; r = QLinearMatMul(q, 0.01, zx, w, 0.02, zw, 0.3, zy); " OUT, 0.3},
    {"x[5,7]; " LEVELS "d = DequantizeLinear(q, 0.01, zx); e = Add(d, d); "
     "r = QuantizeLinear(e, 0.3, zy); " OUT,
     0.3},
    {DYNAMIC "y = Mul(m, Mul(qs, s)); -> y", 0},
    {DYNAMIC "b{6}; y = Add(b, Mul(m, Mul(qs, s))); -> y", 0},
};

static struct md_error err;
static struct md_pool *pool;

static struct md_executable *made(const char *program, const struct md_backend *backend,
                                  struct md_accelerator *accelerator)
{
    struct md_executable *executable;
    const struct md_executable_options options = {.backend = backend,
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .accelerator = accelerator,
                                                  .precision = MD_PRECISION_F16};
    if (md_executable_new(program_graph(program), &options, &executable, &err))
        fail_msg("%s: %s", program, err.text);
    return executable;
}

static struct md_tensor output_of(struct md_executable *executable, const struct md_tensor *in)
{
    struct md_tensor out;
    if (md_executable_run(executable, in, 1, &out, 1, &err))
        fail_msg("%s", err.text);
    return out;
}

static void compare(const char *program, const struct md_tensor *want, const struct md_tensor *have,
                    double step)
{
    double norm = 0, difference = 0;
    assert_true(md_shape_equal(&want->shape, &have->shape));
    for (size_t i = 0; i < md_tensor_count(want); i++) {
        double x = (double)((const float *)want->data)[i];
        double y = (double)((const float *)have->data)[i];
        if (step > 0 && fabs(x - y) > 1.01 * step)
            fail_msg("%s: element %zu is %g, wanted %g", program, i, y, x);
        norm += x * x;
        difference += (x - y) * (x - y);
    }
    if (step == 0 && sqrt(difference / norm) > 5e-3)
        fail_msg("%s: off by %g", program, sqrt(difference / norm));
}

static void test_quantised_networks_are_on_the_device(void **state)
{
    struct md_device_driver driver;
    struct md_accelerator *accelerator;
    md_device_host_driver(&driver, "emulated", md__cuda_kernels);
    assert_int_equal(md_pool_new(1, 0, &pool, &err), MD_OK);
    assert_int_equal(md_accelerator_new(&driver, 0, &accelerator, &err), MD_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *program = cases[i].program;
        struct md_executable *plain = made(program, md_cpu_reference(), NULL);
        struct md_executable *placed = made(program, md_cpu_backend(MD_ISA_BEST), accelerator);
        const struct md_graph *graph = md_executable_graph(plain);
        const struct md_shape shape = graph->values[graph->inputs[0].value].shape;
        struct md_plan_report report;
        uint64_t series = 7;
        struct md_tensor in = graphs_random(&series, shape.rank, shape.dim);
        struct md_tensor want = output_of(plain, &in), have = output_of(placed, &in);
        compare(program, &want, &have, cases[i].step);
        assert_int_equal(md_executable_report(placed, &report, &err), MD_OK);
        if (report.steps != report.device_steps || report.copies != 2)
            fail_msg("%s: %d of %d steps, %d copies", program, report.device_steps, report.steps,
                     report.copies);
        md_tensor_unref(&in);
        md_tensor_unref(&want);
        md_tensor_unref(&have);
        md_executable_delete(plain);
        md_executable_delete(placed);
    }
    md_accelerator_delete(accelerator);
    md_pool_delete(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantised_networks_are_on_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
