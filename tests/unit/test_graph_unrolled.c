/*
 * Loops and scans over random bodies give what the same nodes give when they are written out once
 * for each iteration: bit for bit, with guards, for several counts on one executable. Bodies make
 * vectors longer and shorter, so that their plans change from iteration to iteration.
 */
#include <string.h>

#include "graph/executable_internal.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

enum { CARRIED = 3, CAPTURED = 2, NODES = 12, TRIPS_MAX = 5, LENGTH = 4 };

static struct md_error err;
static struct md_pool *pool;

/* The body's nodes, appended to a graph: next[] follows from carried[] and captured[]. */
static void add_step(struct md_graph *graph, uint64_t seed, const int *carried, const int *captured,
                     int *next)
{
    static const char *const unary[] = {"Neg", "Relu", "Sigmoid", "Identity", "Abs"};
    const struct md_attr axis = graphs_attr_int("axis", 0);
    uint64_t random = seed * 7001;
    int values[CARRIED + CAPTURED + NODES], count = 0;
    for (int i = 0; i < CARRIED; i++)
        values[count++] = carried[i];
    for (int i = 0; i < CAPTURED; i++)
        values[count++] = captured[i];
    for (int i = 0; i < NODES; i++) {
        int a = values[graphs_next(&random) % (uint64_t)count];
        int b = values[graphs_next(&random) % (uint64_t)count];
        switch (graphs_next(&random) % 6) {
        case 0: /* at most 16 elements of both */
            a = graphs_node_with(graph, "Concat", (int[]){a, b}, 2, &axis, 1);
            a = graphs_node(graph, "Slice", a, graphs_ints(graph, 1, (int64_t[]){0}),
                            graphs_ints(graph, 1, (int64_t[]){16}));
            break;
        case 1: /* all but the first */
            a = graphs_node(graph, "Slice", a, graphs_ints(graph, 1, (int64_t[]){1}),
                            graphs_ints(graph, 1, (int64_t[]){100}));
            break;
        case 2: /* those above the mean of b */
            b = graphs_node(graph, "Greater", a, graphs_node(graph, "ReduceMean", b));
            a = graphs_node_with(graph, "Compress", (int[]){a, b}, 2, &axis, 1);
            break;
        case 3:
            a = graphs_node(graph, "Add", a, graphs_node(graph, "ReduceSum", b));
            break;
        default:
            a = graphs_node(graph, unary[graphs_next(&random) % 5], a);
        }
        values[count++] = a;
    }
    for (int i = 0; i < CARRIED; i++)
        next[i] = values[count - 1 - graphs_next(&random) % 6];
}

static void add_inputs(struct md_graph *graph, int *carried, int *captured)
{
    for (int i = 0; i < CARRIED; i++)
        carried[i] = graphs_any(graph, (char[]){(char)('a' + i), 0}, MD_F32);
    for (int i = 0; i < CAPTURED; i++)
        captured[i] = graphs_any(graph, (char[]){(char)('p' + i), 0}, MD_F32);
}

static void add_outputs(struct md_graph *graph, const int *values)
{
    for (int i = 0; i < CARRIED; i++)
        graphs_output(graph, (char[]){(char)('u' + i), 0}, values[i]);
}

static struct md_graph *unrolled(uint64_t seed, int trips)
{
    struct md_graph *graph = graphs_new("unrolled");
    int carried[CARRIED], captured[CAPTURED], next[CARRIED];
    add_inputs(graph, carried, captured);
    for (int i = 0; i < trips; i++) {
        add_step(graph, seed, carried, captured, next);
        memcpy(carried, next, sizeof next);
    }
    add_outputs(graph, carried);
    return graph;
}

static struct md_graph *looped(uint64_t seed)
{
    struct md_graph *graph = graphs_new("looped"), *body = graphs_new("body");
    int carried[CARRIED], captured[CAPTURED], next[CARRIED];
    int going = (graphs_any(body, "i", MD_I64), graphs_any(body, "going", MD_BOOL));
    add_inputs(body, carried, captured);
    add_step(body, seed, carried, captured, next);
    graphs_output(body, "going", going);
    add_outputs(body, next);
    add_inputs(graph, carried, captured);
    int in[2 + CARRIED + CAPTURED] = {graphs_any(graph, "trips", MD_I64), MD_NONE};
    memcpy(in + 2, carried, sizeof carried);
    memcpy(in + 2 + CARRIED, captured, sizeof captured);
    const struct md_attr attr = graphs_attr_graph("body", body);
    graphs_control(graph, "Loop", in, 2 + CARRIED + CAPTURED, &attr, 1, CAPTURED, next, CARRIED);
    add_outputs(graph, next);
    return graph;
}

static struct md_executable *make(struct md_graph *graph)
{
    struct md_executable *executable;
    const struct md_executable_options options = {
        .backend = md_cpu_reference(), .reference = md_cpu_reference(), .pool = pool};
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    md__executable_set_guards(executable, true);
    return executable;
}

static int compare(uint64_t seed, uint64_t draw, struct md_executable *loop, int trips)
{
    struct md_tensor in[CARRIED + CAPTURED + 1], want[CARRIED], have[CARRIED];
    const int count = CARRIED + CAPTURED;
    const struct md_shape scalar = {0};
    uint64_t random = seed + 1000 * draw;
    struct md_executable *plain = make(unrolled(seed, trips));
    for (int i = 0; i < count; i++)
        in[i] = graphs_random(&random, 1, (int64_t[]){LENGTH + i});
    assert_ok(md_tensor_new(MD_I64, &scalar, &in[count], &err));
    *(int64_t *)in[count].data = trips;
    enum md_status status = md_executable_run(plain, in, count, want, CARRIED, &err);
    if (status == MD_OK)
        assert_ok(md_executable_run(loop, in, count + 1, have, CARRIED, &err));
    for (int i = 0; status == MD_OK && i < CARRIED; i++) {
        assert_true(md_shape_equal(&have[i].shape, &want[i].shape));
        assert_memory_equal(have[i].data, want[i].data, md_tensor_bytes(&want[i]));
        md_tensor_unref(&have[i]);
        md_tensor_unref(&want[i]);
    }
    for (int i = 0; i <= count; i++)
        md_tensor_unref(&in[i]);
    md_executable_delete(plain);
    return status == MD_OK;
}

static void loops_equal_their_bodies_written_out(void **state)
{
    int ran = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct md_executable *loop = make(looped(seed));
        for (int round = 0; round < 2; round++)
            for (int trips = 0; trips <= TRIPS_MAX; trips++)
                ran += compare(seed, (uint64_t)round, loop, trips);
        md_executable_delete(loop);
    }
    assert_true(ran > 600);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(loops_equal_their_bodies_written_out)};
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
