/*
 * Out of memory while making and running graphs whose plans split and whose nodes have bodies: each
 * allocation fails in turn, everything made before is given back, and the same executable runs well
 * afterwards.
 */
#include <string.h>

#include "failing.h"
#include "graph/body.h"
#include "graph/executable_internal.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

static struct md_error err;
static struct md_pool *pool;

static int any(struct md_emit *emit, const char *name, enum md_dtype dtype)
{
    int value = MD_NONE;
    const struct md_shape shape = {.rank = MD_RANK_UNKNOWN};
    if (!emit->status)
        emit->status = md_graph_input(emit->graph, name, dtype, &shape, &value, emit->err);
    return value;
}

static void output(struct md_emit *emit, const char *name, int value)
{
    if (!emit->status)
        emit->status = md_graph_output(emit->graph, name, value, emit->err);
}

static struct md_emit start(const char *name, enum md_status status)
{
    struct md_emit emit = {.name = "", .err = &err, .status = status};
    if (!status)
        emit.status = md_graph_new(name, &emit.graph, &err);
    return emit;
}

/* A control node with one or two bodies; they are dropped when it cannot be added. */
static void control(struct md_emit *emit, const char *op, const int *in, int in_count,
                    struct md_emit *first, const char *first_name, struct md_emit *second,
                    int captured, int *out, int out_count)
{
    struct md_attr attrs[3] = {
        {.name = "moondial.captured", .type = MD_ATTR_INT, .i = captured},
        {.name = first_name, .type = MD_ATTR_GRAPH, .graph = first->graph},
        {.name = "else_branch", .type = MD_ATTR_GRAPH, .graph = second ? second->graph : NULL}};
    enum md_status status = emit->status ? emit->status : first->status;
    if (!status && second)
        status = second->status;
    for (int i = 0; i < out_count; i++)
        out[i] = MD_NONE;
    if (!status)
        status = md_graph_node(emit->graph, op, "", in, in_count, attrs, second ? 3 : 2, out,
                               out_count, emit->err);
    if (status) {
        md_graph_delete(first->graph);
        if (second)
            md_graph_delete(second->graph);
    }
    emit->status = status;
}

/* -x or x x, as `condition` says. */
static int choose(struct md_emit *emit, int condition, int x)
{
    struct md_emit yes = start("yes", emit->status), no = start("no", yes.status);
    int out;
    output(&yes, "y", md__emit_node(&yes, "Neg", MD__IDS(any(&yes, "x", MD_F32)), NULL, 0));
    int own = any(&no, "x", MD_F32);
    output(&no, "y",
           md__emit_node(&no, "Concat", MD__IDS(own, own), MD__ATTRS(MD__INT("axis", 0))));
    control(emit, "If", (int[]){condition, x}, 2, &yes, "then_branch", &no, 1, &out, 1);
    return out;
}

/* Adds step to x, three times; collects what there was. */
static void repeat(struct md_emit *emit, int trips, int x, int step, int *out)
{
    struct md_emit body = start("body", emit->status);
    int going = (any(&body, "i", MD_I64), any(&body, "going", MD_BOOL));
    int own = any(&body, "x", MD_F32), by = any(&body, "step", MD_F32);
    output(&body, "going", going);
    output(&body, "x", md__emit_node(&body, "Add", MD__IDS(own, by), NULL, 0));
    output(&body, "before", own);
    control(emit, "Loop", (int[]){trips, MD_NONE, x, step}, 4, &body, "body", NULL, 1, out, 2);
}

static struct md_graph *build(void)
{
    const int64_t minus = -1;
    struct md_emit emit = start("all", MD_OK);
    int x = any(&emit, "x", MD_F32), condition = any(&emit, "condition", MD_BOOL);
    int trips = any(&emit, "trips", MD_I64), shape = any(&emit, "shape", MD_I64), loop[2];
    int step = md__emit_float(&emit, 0.5);
    int less = md__emit_node(&emit, "Less", MD__IDS(step, step), NULL, 0);
    int flat =
        md__emit_node(&emit, "Reshape", MD__IDS(x, md__emit_ints(&emit, 1, &minus)), NULL, 0);
    int decided = choose(&emit, less, flat), chosen = choose(&emit, condition, decided);
    repeat(&emit, trips, chosen, step, loop);
    output(&emit, "where", md__emit_node(&emit, "NonZero", MD__IDS(x), NULL, 0));
    output(&emit, "shaped", md__emit_node(&emit, "Reshape", MD__IDS(loop[0], shape), NULL, 0));
    output(&emit, "each", loop[1]);
    output(&emit, "flat", flat);
    if (!emit.status)
        return emit.graph;
    md_graph_delete(emit.graph);
    return NULL;
}

static enum md_status run(struct md_executable *executable, bool condition)
{
    float data[6] = {1, 0, 2, 0, 0, 3};
    uint8_t yes = condition;
    int64_t trips = 3, shape[2] = {3, -1};
    const struct md_tensor in[4] = {{.dtype = MD_F32, .shape = {2, {2, 3}}, .data = data},
                                    {.dtype = MD_BOOL, .data = &yes},
                                    {.dtype = MD_I64, .data = &trips},
                                    {.dtype = MD_I64, .shape = {1, {2}}, .data = shape}};
    struct md_tensor out[4];
    enum md_status status = md_executable_run(executable, in, 4, out, 4, &err);
    if (status)
        return status;
    /* Twelve elements, or doubled again. */
    bool good = out[0].shape.dim[1] == 3 && out[1].shape.dim[1] == (condition ? 4 : 8) &&
                ((float *)out[1].data)[0] == (condition ? 0.5f : 2.5f) && out[2].shape.dim[0] == 3;
    for (int i = 0; i < 4; i++)
        md_tensor_unref(&out[i]);
    return good ? MD_OK : md_fail(&err, MD_ERR_INTERNAL, "wrong numbers");
}

static enum md_status new_executable(struct md_executable **executable)
{
    const struct md_executable_options options = {
        .backend = md_cpu_reference(), .reference = md_cpu_reference(), .pool = pool};
    struct md_graph *graph = build();
    *executable = NULL;
    return graph ? md_executable_new(graph, &options, executable, &err) : err.code;
}

static enum md_status make_and_run(void)
{
    struct md_executable *executable;
    enum md_status status = new_executable(&executable);
    for (int round = 0; !status && round < 3; round++)
        status = run(executable, round % 2);
    md_executable_delete(executable);
    return status;
}

static void every_failure_gives_all_back(void **state)
{
    if (!FAILING_AVAILABLE)
        skip();
    assert_ok(make_and_run());
    for (int allowed = 0;; allowed++) {
        enum md_status status;
        long kept;
        bool has_failed = failing_run(make_and_run, allowed, &status, &kept);
        if (kept != 0)
            fail_msg("with allocation %d failing: %ld blocks kept (%s)", allowed, kept, err.text);
        if (!has_failed) {
            assert_ok(status);
            assert_true(allowed > 100);
            return;
        }
        /* Folding and lowering may do without. */
        if (status && status != MD_ERR_MEMORY)
            fail_msg("with allocation %d failing: %s (%s)", allowed, md_status_name(status),
                     err.text);
    }
}

static struct md_executable *shared;

/* What a failed run keeps (plans made so far) is the executable's. */
static enum md_status run_shared(void)
{
    return run(shared, false);
}

static void an_executable_survives_failures(void **state)
{
    if (!FAILING_AVAILABLE)
        skip();
    assert_ok(new_executable(&shared));
    for (int allowed = 0;; allowed++) {
        enum md_status status;
        long kept;
        bool has_failed = failing_run(run_shared, allowed, &status, &kept);
        if (status && status != MD_ERR_MEMORY)
            fail_msg("with allocation %d failing: %s (%s)", allowed, md_status_name(status),
                     err.text);
        assert_ok(run(shared, true));
        if (!has_failed)
            break;
    }
    md_executable_delete(shared);
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
        cmocka_unit_test(every_failure_gives_all_back),
        cmocka_unit_test(an_executable_survives_failures),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
