/*
 * Planned execution equals running one node at a time, bit for bit, on random graphs: views,
 * in-place results, shared memory and folding must not show. Every second graph runs with guards
 * between values.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/executable_internal.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

static struct md_error err;
static struct md_pool *pool;
static struct md_graph *graph;

static int start_pool(void **state)
{
    return md_pool_new(1, 0, &pool, &err);
}

static int stop_pool(void **state)
{
    md_pool_delete(pool);
    return 0;
}

static void new_graph(void)
{
    assert_ok(md_graph_new("test", &graph, &err));
}

static struct md_executable *make(const char *passes_off)
{
    struct md_executable *executable;
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .passes_off = passes_off};
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    return executable;
}

enum { POOL_MAX = 64 };

/* Values of shapes [batch, 4], [batch, 4, 1], [4, batch], so that views, broadcasts and products
 * all fit. */
struct random_graph {
    int rows[POOL_MAX], deep[POOL_MAX], turned[POOL_MAX];
    int row_count, deep_count, turned_count;
};

static void add_random_node(struct random_graph *made, uint64_t *state)
{
    static const char *const unary[] = {"Relu", "Sigmoid", "Neg", "Identity", "Abs", "Tanh"};
    static const char *const binary[] = {"Add", "Mul", "Sub", "Max"};
    const float weights[16] = {.5f, -.25f, .125f, 1, -1, .75f, .5f, .25f, -.5f, 1, .5f, -.125f};
    int a = made->rows[graphs_next(state) % (uint64_t)made->row_count];
    int b = made->rows[graphs_next(state) % (uint64_t)made->row_count];
    struct md_attr axis = graphs_attr_int("axis", 1);
    struct md_attr parts[2] = {axis, graphs_attr_int("num_outputs", 2)};
    int halves[2];
    switch (graphs_next(state) % 9) {
    case 0:
        made->deep[made->deep_count++] =
            graphs_node(graph, "Unsqueeze", a, graphs_ints(graph, 1, (int64_t[]){2}));
        return;
    case 1:
        a = made->deep[graphs_next(state) % (uint64_t)made->deep_count];
        a = graphs_node(graph, "Squeeze", a, graphs_ints(graph, 1, (int64_t[]){2}));
        break;
    case 2:
        a = graphs_node(graph, "Transpose",
                        made->turned[graphs_next(state) % (uint64_t)made->turned_count]);
        break;
    case 3:
        made->turned[made->turned_count++] = graphs_node(graph, "Transpose", a);
        return;
    case 4:
        a = graphs_node(graph, "MatMul", a, graphs_floats(graph, 2, (int64_t[]){4, 4}, weights));
        break;
    case 5:
        assert_ok(md_graph_node(graph, "Split", "", &a, 1, parts, 2, halves, 2, &err));
        a = graphs_node_with(graph, "Concat", (int[]){halves[1], halves[0]}, 2, &axis, 1);
        break;
    case 6:
        a = graphs_node(graph, "Reshape", a, graphs_ints(graph, 2, (int64_t[]){0, -1}));
        break;
    case 7:
        a = graphs_node(graph, unary[graphs_next(state) % 6], a);
        break;
    default:
        a = graphs_node(graph, binary[graphs_next(state) % 4], a, b);
    }
    made->rows[made->row_count++] = a;
}

static void build_random_graph(uint64_t *state)
{
    struct random_graph made = {0};
    const int64_t batch = graphs_symbol(graph, "batch", 0);
    made.rows[made.row_count++] = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){batch, 4});
    made.rows[made.row_count++] = graphs_input(graph, "y", MD_F32, 2, (int64_t[]){batch, 4});
    made.turned[made.turned_count++] = graphs_node(graph, "Transpose", made.rows[0]);
    made.deep[made.deep_count++] =
        graphs_node(graph, "Unsqueeze", made.rows[1], graphs_ints(graph, 1, (int64_t[]){-1}));
    int nodes = 3 + (int)(graphs_next(state) % 40);
    for (int i = 0; i < nodes; i++)
        add_random_node(&made, state);
    for (int i = 0; i < 3; i++) {
        char name[4] = {'o', (char)('0' + i)};
        graphs_output(graph, name, made.rows[graphs_next(state) % (uint64_t)made.row_count]);
    }
    graphs_output(graph, "deep", made.deep[made.deep_count - 1]);
}

static void check_same(const struct md_tensor *have, const struct md_tensor *want, int count)
{
    for (int i = 0; i < count; i++) {
        assert_true(md_shape_equal(&have[i].shape, &want[i].shape));
        assert_memory_equal(have[i].data, want[i].data, md_tensor_bytes(&want[i]));
    }
}

static void planned_equals_slow_on_random_graphs(void **state)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        uint64_t random = seed * 977;
        struct md_graph *plain;
        new_graph();
        build_random_graph(&random);
        plain = graph;
        random = seed * 977;
        new_graph();
        build_random_graph(&random);
        struct md_executable *executable = make(seed % 3 == 0 ? "fold,dead" : NULL);
        md__executable_set_guards(executable, seed % 2);
        for (int64_t batch = 0; batch < 4; batch++) {
            const int64_t dim[2] = {batch, 4};
            struct md_tensor in[2] = {graphs_random(&random, 2, dim),
                                      graphs_random(&random, 2, dim)};
            struct md_tensor want[4], have[4], again[4];
            assert_ok(graphs_run_slowly(plain, md_cpu_reference(), pool, in, want, &err));
            assert_ok(md_executable_run(executable, in, 2, have, 4, &err));
            assert_ok(md_executable_run(executable, in, 2, again, 4, &err));
            check_same(have, want, 4);
            check_same(again, want, 4);
            for (int i = 0; i < 4; i++) {
                md_tensor_unref(&want[i]);
                md_tensor_unref(&have[i]);
                md_tensor_unref(&again[i]);
            }
            md_tensor_unref(&in[0]);
            md_tensor_unref(&in[1]);
        }
        md_executable_delete(executable);
        md_graph_delete(plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planned_equals_slow_on_random_graphs),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
