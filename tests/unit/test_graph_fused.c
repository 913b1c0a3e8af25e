/*
 * Fused operators: their bodies give pytorch-forecasting's numbers, as primitives and lowered to
 * this machine's best kernels; kernels with wrong numbers are refused; regions nest.
 *
 * Expected numbers are those of pytorch-forecasting 1.8.0's own modules (sub_modules.py) in
 * float32, with every parameter tensor p filled with sin(0.7 i + seed) and the seeds given below.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/executable.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

static struct md_error err;
static struct md_pool *pool;
static struct md_graph *graph;

static int start_pool(void **state)
{
    return md_pool_new(2, 0, &pool, &err);
}

static int stop_pool(void **state)
{
    md_pool_delete(pool);
    return 0;
}

static void fill(struct md_tensor *tensor, double seed)
{
    for (size_t i = 0; i < md_tensor_count(tensor); i++)
        ((float *)tensor->data)[i] = (float)sin(0.7 * (double)i + seed);
}

static struct md_tensor series(int rank, const int64_t *dim, double seed)
{
    struct md_tensor tensor;
    struct md_shape shape = md_shape_of(rank, dim);
    assert_ok(md_tensor_new(MD_F32, &shape, &tensor, &err));
    fill(&tensor, seed);
    return tensor;
}

static int weight(int rank, int64_t a, int64_t b, double seed)
{
    int value;
    struct md_tensor tensor = series(rank, (int64_t[]){a, b}, seed);
    assert_ok(md_graph_constant(graph, "", &tensor, &value, &err));
    md_tensor_unref(&tensor);
    return value;
}

/* Runs the graph (which is taken) on `backend`. */
static struct md_tensor run(const struct md_backend *backend, const struct md_tensor *in,
                            int in_count, const char *passes_off, struct md_plan_report *report)
{
    struct md_tensor out;
    struct md_executable *executable;
    const struct md_executable_options options = {.backend = backend,
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .passes_off = passes_off};
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    graph = NULL;
    assert_ok(md_executable_run(executable, in, in_count, &out, 1, &err));
    if (report)
        assert_ok(md_executable_report(executable, report, &err));
    md_executable_delete(executable);
    return out;
}

/* Builds and runs the same graph as primitives and as the best backend has it, composed and not,
 * against the library's numbers. */
static void check(void (*build)(void), struct md_tensor *in, int in_count, const float *want,
                  size_t count)
{
    for (int way = 0; way < 3; way++) {
        assert_ok(md_graph_new("fused", &graph, &err));
        build();
        struct md_tensor out = run(way ? md_cpu_backend(MD_ISA_BEST) : md_cpu_reference(), in,
                                   in_count, way == 2 ? "compose" : NULL, NULL);
        assert_int_equal(md_tensor_count(&out), count);
        assert_floats_close((const float *)out.data, want, count, 4e-6, 2e-5);
        md_tensor_unref(&out);
    }
    for (int i = 0; i < in_count; i++)
        md_tensor_unref(&in[i]);
}

static int add(const char *op, const int *in, int in_count, const struct md_attr *attrs, int count)
{
    int y = graphs_node_with(graph, op, in, in_count, attrs, count);
    graphs_output(graph, "y", y);
    return y;
}

static int64_t symbol(const char *name, int64_t sample)
{
    return graphs_symbol(graph, name, sample);
}

static void build_grn(void)
{
    int64_t b = symbol("b", 2), t = symbol("t", 20);
    int x = graphs_input(graph, "x", MD_F32, 3, (int64_t[]){b, t, 5});
    int c = graphs_input(graph, "c", MD_F32, 3, (int64_t[]){b, 1, 2});
    const int in[] = {x,
                      weight(2, 3, 5, 1),
                      weight(1, 3, 0, 2),
                      weight(2, 3, 3, 3),
                      weight(1, 3, 0, 4),
                      weight(2, 8, 3, 5),
                      weight(1, 8, 0, 6),
                      weight(1, 4, 0, 7),
                      weight(1, 4, 0, 8),
                      c,
                      weight(2, 3, 2, 10),
                      weight(1, 4, 0, 11),
                      weight(1, 4, 0, 12),
                      weight(1, 4, 0, 13)};
    add("moondial.GatedResidualNetwork", in, 14, NULL, 0);
}

static void gated_residual_with_context_and_resampling(void **state)
{
    const float want[24] = {1.237173f,     -0.9762445f, 0.8948246f,  -0.5409682f, 0.1518605f,
                            -0.008409319f, 0.8978359f,  -0.3274888f, 0.7642772f,  -0.7184293f,
                            1.15715f,      -0.4924858f, 0.8669295f,  0.1505488f,  -0.7960911f,
                            -0.09363369f,  0.2546425f,  -0.1934845f, 0.9740646f,  -0.3461089f,
                            1.349172f,     -0.1001321f, -0.9395236f, -0.1933531f};
    struct md_tensor in[2] = {series(3, (int64_t[]){2, 3, 5}, 0),
                              series(3, (int64_t[]){2, 1, 2}, 9)};
    check(build_grn, in, 2, want, 24);
}

static void build_plain_grn(void)
{
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){symbol("b", 20), 4});
    const int in[] = {x,
                      weight(2, 3, 4, 1),
                      weight(1, 3, 0, 2),
                      weight(2, 3, 3, 3),
                      weight(1, 3, 0, 4),
                      weight(2, 8, 3, 5),
                      weight(1, 8, 0, 6),
                      weight(1, 4, 0, 7),
                      weight(1, 4, 0, 8)};
    add("moondial.GatedResidualNetwork", in, 9, NULL, 0);
}

static void gated_residual_of_equal_sizes(void **state)
{
    const float want[12] = {0.6434801f, -0.6982117f, 0.9063341f, -0.3466911f,
                            1.788032f,  -0.6455673f, 0.5989f,    -0.8048072f,
                            0.5464974f, -0.5906225f, 0.9889488f, -0.3651769f};
    struct md_tensor in = series(2, (int64_t[]){3, 4}, 0);
    check(build_plain_grn, &in, 1, want, 12);
}

static void build_resample(int64_t from, int64_t to)
{
    struct md_attr size = graphs_attr_int("input_size", from);
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){symbol("b", 20), from});
    const int in[] = {x, weight(1, to, 0, 11), weight(1, to, 0, 12), weight(1, to, 0, 13)};
    add("moondial.ResampleNorm", in, 4, &size, 1);
}

static void build_upsample(void)
{
    build_resample(3, 7);
}

static void build_downsample(void)
{
    build_resample(7, 3);
}

static void resample_norm_up_and_down(void **state)
{
    const float up[14] = {1.452744f,  0.7424353f,  0.6690482f, 1.616636f, 1.565687f,
                          0.433975f,  -0.4348137f, -1.844818f, -0.76039f, 0.6307991f,
                          0.9955665f, 0.1206225f,  -0.81957f,  -1.119519f};
    const float down[6] = {-0.5473772f, -0.7958553f, 0.9440864f,
                           0.8452864f,  -0.5916627f, 0.6690755f};
    struct md_tensor three = series(2, (int64_t[]){2, 3}, 0);
    struct md_tensor seven = series(2, (int64_t[]){2, 7}, 0);
    check(build_upsample, &three, 1, up, 14);
    check(build_downsample, &seven, 1, down, 6);
}

static void build_attention(void)
{
    int64_t b = symbol("b", 2), q = symbol("q", 5), k = symbol("k", 9);
    int x = graphs_input(graph, "x", MD_F32, 3, (int64_t[]){b, k, 4});
    int rows = graphs_input(graph, "rows", MD_F32, 3, (int64_t[]){b, q, 4});
    int mask = graphs_input(graph, "mask", MD_BOOL, 3, (int64_t[]){b, q, k});
    struct md_attr attrs[2] = {graphs_attr_int("heads", 2), graphs_attr_int("head_size", 2)};
    int query = graphs_node(graph, "moondial.Linear", rows, weight(2, 4, 4, 1), weight(1, 4, 0, 2));
    int key = graphs_node(graph, "moondial.Linear", x, weight(2, 4, 4, 3), weight(1, 4, 0, 4));
    int value = graphs_node(graph, "moondial.Linear", x, weight(2, 2, 4, 5), weight(1, 2, 0, 6));
    int y = graphs_node_with(graph, "moondial.InterpretableAttention",
                             (int[]){query, key, value, mask}, 4, attrs, 2);
    add("moondial.Linear", (int[]){y, weight(2, 4, 2, 7)}, 2, NULL, 0);
}

static void interpretable_attention_with_a_mask(void **state)
{
    const float want[16] = {0.7957396f, 0.3165782f,  -0.6881238f, -0.550495f,
                            0.807367f,  0.3313379f,  -0.6947339f, -0.5675018f,
                            0.3890936f, -0.3893656f, -0.5214522f, 0.212106f,
                            0.615159f,  -1.04567f,   -0.9706181f, 0.7157236f};
    const uint8_t hidden[12] = {0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0};
    struct md_shape shape = md_shape_of(3, (int64_t[]){2, 2, 3});
    struct md_tensor in[3] = {series(3, (int64_t[]){2, 3, 4}, 0),
                              series(3, (int64_t[]){2, 2, 4}, 0)};
    for (int b = 0; b < 2; b++) /* queries are the last two of the three rows */
        memcpy((float *)in[1].data + b * 8, (float *)in[0].data + b * 12 + 4, 8 * sizeof(float));
    assert_ok(md_tensor_new(MD_BOOL, &shape, &in[2], &err));
    memcpy(in[2].data, hidden, 12);
    check(build_attention, in, 3, want, 16);
}

static void build_weighted_sum(void)
{
    int64_t b = symbol("b", 20);
    int w = graphs_input(graph, "w", MD_F32, 2, (int64_t[]){b, 2});
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){b, 3});
    add("moondial.WeightedSum", (int[]){w, x, graphs_node(graph, "Neg", x)}, 3, NULL, 0);
}

static void weighted_sum_by_hand(void **state)
{
    struct md_tensor in[2] = {series(2, (int64_t[]){2, 2}, 0), series(2, (int64_t[]){2, 3}, 1)};
    float want[6];
    for (int i = 0; i < 6; i++) {
        const float *w = (float *)in[0].data + i / 3 * 2;
        want[i] = (w[0] - w[1]) * ((float *)in[1].data)[i];
    }
    check(build_weighted_sum, in, 2, want, 6);
}

/* ---- lowering ---- */

static enum md_status wrong_run(const struct md_kernel_call *call, struct md_error *unused)
{
    for (size_t i = 0; i < md_tensor_count(&call->out[0]); i++)
        ((float *)call->out[0].data)[i] = 1.0f;
    return MD_OK;
}

static const struct md_kernel wrong_kernel = {.run = wrong_run};

static void a_wrong_kernel_is_refused(void **state)
{
    struct md_backend backend = *md_cpu_reference();
    struct md_plan_report report;
    struct md_tensor in = series(2, (int64_t[]){3, 4}, 0), out;
    backend.name = "wrong";
    backend.kernels[MD_OP_GATED_RESIDUAL] = &wrong_kernel;
    assert_ok(md_graph_new("fused", &graph, &err));
    build_plain_grn();
    out = run(&backend, &in, 1, NULL, &report);
    assert_int_equal(report.regions_disagreed, 1);
    assert_int_equal(report.regions_lowered, 0);
    assert_int_equal(report.fused_steps, 0);
    assert_true(fabsf(*(float *)out.data - 0.6434801f) < 1e-5f);
    md_tensor_unref(&in);
    md_tensor_unref(&out);
}

static enum md_status fails_run(const struct md_kernel_call *call, struct md_error *error)
{
    return md_fail(error, MD_ERR_UNSUPPORTED, "not this one");
}

static enum md_status right_linear_run(const struct md_kernel_call *call, struct md_error *unused)
{
    const struct md_tensor *x = &call->in[0], *w = &call->in[1];
    int64_t features = w->shape.dim[1], units = w->shape.dim[0];
    for (size_t i = 0; i < md_tensor_count(&call->out[0]); i++) {
        size_t row = i / (size_t)units, unit = i % (size_t)units;
        const float *a = (float *)x->data + (int64_t)row * features;
        const float *b = (float *)w->data + (int64_t)unit * features;
        float sum = call->in_count > 2 ? ((float *)call->in[2].data)[unit] : 0;
        for (int64_t k = 0; k < features; k++)
            sum += a[k] * b[k];
        ((float *)call->out[0].data)[i] = sum;
    }
    return MD_OK;
}

static void inner_regions_are_lowered_when_the_outer_is_not(void **state)
{
    const struct md_kernel fails = {.run = fails_run}, linear = {.run = right_linear_run};
    struct md_backend backend = *md_cpu_reference();
    struct md_plan_report report;
    struct md_tensor in = series(2, (int64_t[]){3, 4}, 0), out;
    backend.kernels[MD_OP_GATED_RESIDUAL] = &fails;
    backend.kernels[MD_OP_LINEAR] = &linear;
    assert_ok(md_graph_new("fused", &graph, &err));
    build_plain_grn();
    out = run(&backend, &in, 1, NULL, &report);
    assert_int_equal(report.regions_lowered, 3);
    assert_int_equal(report.fused_steps, 3);
    assert_int_equal(report.regions_kept, 1);
    assert_int_equal(report.regions_disagreed, 0);
    assert_true(fabsf(*(float *)out.data - 0.6434801f) < 1e-5f);
    md_tensor_unref(&out);

    assert_ok(md_graph_new("fused", &graph, &err));
    build_plain_grn();
    out = run(&backend, &in, 1, "lower", &report);
    assert_int_equal(report.fused_steps, 0);
    assert_true(fabsf(*(float *)out.data - 0.6434801f) < 1e-5f);
    md_tensor_unref(&out);
    md_tensor_unref(&in);
}

static void every_fused_operator_of_the_best_backend_is_taken(void **state)
{
    static void (*const builds[])(void) = {build_grn,        build_plain_grn, build_upsample,
                                           build_downsample, build_attention, build_weighted_sum};
    const struct md_backend *best = md_cpu_backend(MD_ISA_BEST);
    for (size_t i = 0; i < sizeof builds / sizeof *builds; i++) {
        struct md_executable *executable;
        const struct md_executable_options options = {
            .backend = best, .reference = md_cpu_reference(), .pool = pool};
        assert_ok(md_graph_new("fused", &graph, &err));
        builds[i]();
        int expected = 0;
        for (int r = 0; r < graph->region_count; r++)
            expected +=
                graph->regions[r].parent == MD_NONE && best->kernels[graph->regions[r].op] != NULL;
        assert_ok(md_executable_new(graph, &options, &executable, &err));
        int fused = 0;
        for (int n = 0; n < md_executable_graph(executable)->node_count; n++)
            fused += md_op_info(md_executable_graph(executable)->nodes[n].op)->body != NULL;
        assert_true(fused >= expected);
        md_executable_delete(executable);
    }
}

static void products_in_a_row_become_one(void **state)
{
    struct md_plan_report report;
    struct md_tensor in = series(2, (int64_t[]){3, 4}, 0), out;
    double flops[2];
    for (int off = 0; off < 2; off++) {
        assert_ok(md_graph_new("fused", &graph, &err));
        build_plain_grn();
        out = run(md_cpu_backend(MD_ISA_BEST), &in, 1, off ? "compose" : NULL, &report);
        assert_int_equal(report.networks_composed, !off);
        assert_int_equal(report.regions_lowered, 1);
        assert_true(fabsf(*(float *)out.data - 0.6434801f) < 1e-5f);
        flops[off] = report.flops;
        md_tensor_unref(&out);
    }
    assert_true(flops[0] < flops[1]);
    md_tensor_unref(&in);
}

static void operators_can_stay_written_out(void **state)
{
    struct md_plan_report report;
    struct md_tensor in = series(2, (int64_t[]){3, 4}, 0), out;
    assert_ok(md_graph_new("fused", &graph, &err));
    build_plain_grn();
    out = run(md_cpu_backend(MD_ISA_BEST), &in, 1, "GatedResidualNetwork,compose", &report);
    assert_int_equal(report.regions_kept, 1);
    assert_true(report.regions_lowered > 1); /* what the body is made of */
    assert_true(fabsf(*(float *)out.data - 0.6434801f) < 1e-5f);
    md_tensor_unref(&out);
    md_tensor_unref(&in);
}

static void a_value_read_from_inside_keeps_the_region(void **state)
{
    const struct md_kernel linear = {.run = right_linear_run};
    struct md_backend backend = *md_cpu_reference();
    struct md_plan_report report;
    backend.kernels[MD_OP_LINEAR] = &linear;
    assert_ok(md_graph_new("fused", &graph, &err));
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){symbol("b", 4), 4});
    int y = graphs_node(graph, "moondial.Linear", x, weight(2, 3, 4, 1), weight(1, 3, 0, 2));
    int inside = graph->nodes[graph->values[y].producer].in[0]; /* before the bias */
    graphs_output(graph, "inside", inside);
    struct md_tensor in = series(2, (int64_t[]){3, 4}, 0), out;
    out = run(&backend, &in, 1, NULL, &report);
    assert_int_equal(report.regions_lowered, 0);
    assert_int_equal(report.fused_steps, 0);
    md_tensor_unref(&in);
    md_tensor_unref(&out);
}

static void folding_and_dead_code_remove_what_is_constant(void **state)
{
    assert_ok(md_graph_new("fold", &graph, &err));
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){symbol("b", 4), 4});
    int w = graphs_node(graph, "Transpose", weight(2, 3, 4, 1));
    w = graphs_node(graph, "Sigmoid", w);
    graphs_node(graph, "Relu", graphs_node(graph, "MatMul", x, w)); /* nobody reads it */
    graphs_output(graph, "y", graphs_node(graph, "MatMul", x, w));
    struct md_plan_report report;
    struct md_tensor in = series(2, (int64_t[]){2, 4}, 0);
    struct md_tensor out = run(md_cpu_reference(), &in, 1, NULL, &report);
    assert_int_equal(report.steps, 1);
    assert_int_equal(report.constant_bytes, 48);
    md_tensor_unref(&in);
    md_tensor_unref(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gated_residual_with_context_and_resampling),
        cmocka_unit_test(gated_residual_of_equal_sizes),
        cmocka_unit_test(resample_norm_up_and_down),
        cmocka_unit_test(interpretable_attention_with_a_mask),
        cmocka_unit_test(weighted_sum_by_hand),
        cmocka_unit_test(a_wrong_kernel_is_refused),
        cmocka_unit_test(inner_regions_are_lowered_when_the_outer_is_not),
        cmocka_unit_test(every_fused_operator_of_the_best_backend_is_taken),
        cmocka_unit_test(products_in_a_row_become_one),
        cmocka_unit_test(operators_can_stay_written_out),
        cmocka_unit_test(a_value_read_from_inside_keeps_the_region),
        cmocka_unit_test(folding_and_dead_code_remove_what_is_constant),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
