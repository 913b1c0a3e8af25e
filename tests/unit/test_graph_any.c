/*
 * Random graphs of any primitive operators: planned execution equals running one node at a time,
 * bit for bit, with the reference kernels after all passes, and with the best kernels on the graph
 * as it was built. Nodes are drawn blindly and kept when their shape rule accepts them, so that odd
 * combinations come up: a view of a view in place, empty tensors, contents known while planning
 * feeding shapes.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/executable_internal.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

enum { VALUES_MAX = 400, INPUTS = 4, OUTPUTS = 5, NODES = 30, TRIES = 1500, ELEMENTS_MAX = 600 };

static struct md_error err;
static struct md_pool *pool;

/* A graph being drawn: what each value is, with the contents of constants. */
struct drawing {
    struct md_graph *graph;
    struct md_value_info infos[VALUES_MAX];
    uint64_t random;
};

static uint64_t draw(struct drawing *drawing, uint64_t below)
{
    return graphs_next(&drawing->random) % below;
}

static void remember(struct drawing *drawing, int value)
{
    const struct md_value *made = &drawing->graph->values[value];
    drawing->infos[value] = (struct md_value_info){
        .dtype = made->dtype, .shape = made->shape, .known = made->constant.data};
}

static void add_inputs(struct drawing *drawing)
{
    const int64_t wide[3] = {3, 4, 2}, flat[2] = {3, 4}, row[1] = {4}, column[2] = {3, 1};
    struct md_graph *graph = drawing->graph;
    remember(drawing, graphs_input(graph, "a", MD_F32, 3, wide));
    remember(drawing, graphs_input(graph, "b", MD_F32, 2, flat));
    remember(drawing, graphs_input(graph, "c", MD_F32, 1, row));
    remember(drawing, graphs_input(graph, "m", MD_BOOL, 2, column));
}

/* A value of the graph, or now and then a new constant: a short list of small integers, or floats.
 */
static int draw_operand(struct drawing *drawing)
{
    int64_t ints[3];
    float floats[3];
    int value;
    if (drawing->graph->value_count > VALUES_MAX - 20 || draw(drawing, 3))
        return (int)draw(drawing, (uint64_t)drawing->graph->value_count);
    int64_t count = (int64_t)draw(drawing, 4);
    for (int i = 0; i < 3; i++) {
        ints[i] = (int64_t)draw(drawing, 6) - 2;
        floats[i] = (float)draw(drawing, 100) / 16.0f - 3.0f;
    }
    if (draw(drawing, 3))
        value = graphs_ints(drawing->graph, (int)count, ints);
    else
        value = graphs_floats(drawing->graph, count ? 1 : 0, &count, floats);
    remember(drawing, value);
    return value;
}

static int draw_attrs(struct drawing *drawing, struct md_attr *attrs, int64_t *list)
{
    static const char *const names[] = {"axis", "perm", "to", "keepdims", "num_outputs", "transB"};
    int count = (int)draw(drawing, 3), made = 0;
    for (int k = 0; k < count; k++) {
        const char *name = names[draw(drawing, 6)];
        if (k > 0 && strcmp(name, attrs[0].name) == 0)
            continue;
        for (int i = 0; i < 4; i++)
            list[i] = (int64_t)draw(drawing, 4);
        attrs[made++] = strcmp(name, "perm") == 0
                            ? graphs_attr_ints(name, 2 + (int)draw(drawing, 2), list)
                            : graphs_attr_int(name, (int64_t)draw(drawing, 8) - 1);
    }
    return made;
}

static bool small(const struct md_value_info *infos, int count)
{
    for (int i = 0; i < count; i++) {
        size_t elements;
        if (md_shape_count(&infos[i].shape, 1, &elements, NULL) || elements > ELEMENTS_MAX)
            return false;
    }
    return true;
}

/* What fails on most contents is left to tests that know valid indices, axes and labels. */
static bool is_choosy(enum md_op op)
{
    static const enum md_op choosy[] = {MD_OP_GATHER,
                                        MD_OP_GATHER_ELEMENTS,
                                        MD_OP_GATHER_ND,
                                        MD_OP_SCATTER_ELEMENTS,
                                        MD_OP_SCATTER_ND,
                                        MD_OP_LSTM,
                                        MD_OP_GRU,
                                        MD_OP_CUM_SUM,
                                        MD_OP_CUM_PROD,
                                        MD_OP_NEGATIVE_LOG_LIKELIHOOD_LOSS,
                                        MD_OP_SOFTMAX_CROSS_ENTROPY_LOSS};
    for (size_t i = 0; i < sizeof choosy / sizeof *choosy; i++)
        if (choosy[i] == op)
            return true;
    return false;
}

/* Draws one node; true when it fits and was added. */
static bool try_node(struct drawing *drawing)
{
    enum { WIDTH = 5 };
    struct md_value_info in[WIDTH] = {{0}}, out[WIDTH];
    struct md_attr attrs[3];
    int64_t list[4];
    int ids[WIDTH], outs[WIDTH];
    struct md_node node = {.op = (enum md_op)draw(drawing, MD_OP_COUNT), .name = ""};
    const struct md_op_info *info = md_op_info(node.op);
    int most = info->in_max < 0 || info->in_max > WIDTH ? WIDTH : info->in_max;
    if (info->body || info->in_min > WIDTH || is_choosy(node.op))
        return false;
    node.in_count = info->in_min + (int)draw(drawing, (uint64_t)(most - info->in_min + 1));
    node.out_count = info->out_max < 0 ? 1 + (int)draw(drawing, 3) : info->out_min;
    for (int i = 0; i < node.in_count; i++) {
        ids[i] = draw_operand(drawing);
        in[i] = drawing->infos[ids[i]];
    }
    node.attrs = attrs;
    node.attr_count = draw_attrs(drawing, attrs, list);
    if (md__infer_node(&node, in, out, &err) || !small(out, node.out_count))
        return false;
    struct md_tensor shown[WIDTH] = {{0}};
    for (int i = 0; i < node.in_count; i++)
        shown[i] =
            (struct md_tensor){in[i].dtype, in[i].shape, (void *)(uintptr_t)in[i].known, NULL};
    if (!md__kernel_find(md_cpu_reference(), &node, shown))
        return false;
    assert_ok(md_graph_node(drawing->graph, info->name, "", ids, node.in_count, attrs,
                            node.attr_count, outs, node.out_count, &err));
    for (int i = 0; i < node.out_count; i++) {
        drawing->infos[outs[i]] = out[i];
        drawing->infos[outs[i]].known = NULL;
    }
    return true;
}

static struct md_graph *draw_graph(uint64_t seed)
{
    struct drawing drawing = {.random = seed * 7919};
    int nodes = 0;
    assert_ok(md_graph_new("any", &drawing.graph, &err));
    add_inputs(&drawing);
    for (int i = 0; i < TRIES && nodes < NODES; i++)
        nodes += try_node(&drawing);
    for (int i = 0; i < OUTPUTS; i++) {
        char name[4] = {'o', (char)('0' + i)};
        int back = (int)draw(&drawing, 25) + 1, count = drawing.graph->value_count;
        graphs_output(drawing.graph, name, back < count ? count - back : 0);
    }
    return drawing.graph;
}

static void make_inputs(const struct md_graph *graph, uint64_t *random, struct md_tensor *in)
{
    for (int i = 0; i < INPUTS; i++) {
        const struct md_value *value = &graph->values[graph->inputs[i].value];
        assert_ok(md_tensor_new(value->dtype, &value->shape, &in[i], &err));
        for (size_t k = 0; k < md_tensor_count(&in[i]); k++) {
            if (value->dtype == MD_BOOL)
                ((uint8_t *)in[i].data)[k] = graphs_next(random) % 2;
            else
                ((float *)in[i].data)[k] = (float)(graphs_next(random) % 4000) / 1000.0f - 2.0f;
        }
    }
}

/* 1 when the graph ran (both ways, alike), 0 when both ways failed. */
static int compare(uint64_t seed, const struct md_backend *backend, const char *passes_off)
{
    struct md_tensor in[INPUTS], want[OUTPUTS] = {{0}}, have[OUTPUTS] = {{0}};
    struct md_graph *plain = draw_graph(seed);
    struct md_executable *executable;
    const struct md_executable_options options = {.backend = backend,
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .passes_off = passes_off};
    uint64_t random = seed;
    assert_ok(md_executable_new(draw_graph(seed), &options, &executable, &err));
    md__executable_set_guards(executable, true);
    make_inputs(plain, &random, in);
    enum md_status slow = graphs_run_slowly(plain, backend, pool, in, want, &err);
    enum md_status planned = md_executable_run(executable, in, INPUTS, have, OUTPUTS, &err);
    /* The slow way also runs what no output needs. */
    if (!slow && planned)
        fail_msg("graph %d: %s", (int)seed, err.text);
    for (int i = 0; !slow && i < OUTPUTS; i++) {
        assert_true(md_shape_equal(&want[i].shape, &have[i].shape));
        if (memcmp(want[i].data, have[i].data, md_tensor_bytes(&want[i])) != 0)
            fail_msg("graph %d: output %d differs", (int)seed, i);
    }
    for (int i = 0; i < OUTPUTS; i++) {
        md_tensor_unref(&want[i]);
        md_tensor_unref(&have[i]);
    }
    for (int i = 0; i < INPUTS; i++)
        md_tensor_unref(&in[i]);
    md_executable_delete(executable);
    md_graph_delete(plain);
    return slow == MD_OK;
}

static void reference_kernels_after_all_passes(void **state)
{
    int ran = 0;
    for (uint64_t seed = 1; seed <= 400; seed++)
        ran += compare(seed, md_cpu_reference(), NULL);
    assert_true(ran > 300);
}

static void best_kernels_on_the_graph_as_built(void **state)
{
    int ran = 0;
    for (uint64_t seed = 1; seed <= 400; seed++)
        ran += compare(seed, md_cpu_backend(MD_ISA_BEST), "fold,lower");
    assert_true(ran > 300);
}

static int start_pool(void **state)
{
    return md_pool_new(1, 0, &pool, &err);
}

static int stop_pool(void **state)
{
    md_pool_delete(pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_kernels_after_all_passes),
        cmocka_unit_test(best_kernels_on_the_graph_as_built),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
