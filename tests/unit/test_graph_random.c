/*
 * Random nodes: shape rules answer whatever they are given, and kernels survive whatever the rules
 * accept. Inputs have odd dtypes, shapes, contents and attributes; sanitizers are the judge of the
 * second test.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/evaluate.h"
#include "graph/graph_internal.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

static struct md_error err;

enum { MEMBERS_MAX = 16 };

/* One input; contents in storage of its own. */
struct member {
    struct md_value_info info;
    int64_t contents[16];
};

struct random_node {
    struct md_node node;
    struct md_attr attrs[4];
    int64_t lists[4][8];
    struct member members[MEMBERS_MAX];
    struct md_value_info in[MEMBERS_MAX], out[8];
};

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static int64_t odd_number(uint64_t *state)
{
    static const int64_t odd[] = {INT64_MIN, INT64_MAX, (int64_t)1 << 40, -1, 0, 1, 2, 3, -2, 1000};
    return odd[next(state) % (next(state) % 4 ? 10 : 3)];
}

static void random_member(struct member *member, uint64_t *state)
{
    static const enum md_dtype dtypes[] = {MD_F32, MD_F32, MD_I64, MD_I32, MD_BOOL, MD_F64};
    struct md_value_info *info = &member->info;
    *info = (struct md_value_info){.dtype = dtypes[next(state) % 6]};
    bool contents = next(state) % 2 && (info->dtype == MD_I64 || info->dtype == MD_I32);
    info->shape.rank = (int)(next(state) % (contents ? 2 : MD_RANK_MAX + 1));
    for (int i = 0; i < info->shape.rank; i++) {
        int64_t dim = odd_number(state);
        info->shape.dim[i] = contents || dim < 0 ? (int64_t)(next(state) % 4) : dim;
    }
    size_t count;
    if (md__shape_bytes(&info->shape, MD_F64, &count, NULL)) /* a trace never holds such */
        info->shape.rank = 0;
    for (int i = 0; i < 4; i++) {
        if (info->dtype == MD_I64)
            member->contents[i] = odd_number(state);
        else
            ((int32_t *)member->contents)[i] = (int32_t)odd_number(state);
    }
    if (contents)
        info->known = member->contents;
}

static void random_node(struct random_node *made, uint64_t *state)
{
    static const char *const names[] = {
        "axis",        "axes",         "perm",       "split",      "num_outputs",
        "start",       "end",          "heads",      "head_size",  "input_size",
        "to",          "layout",       "blocksize",  "batch_dims", "time_axis",
        "batch_axis",  "kernel_shape", "strides",    "pads",       "dilations",
        "group",       "ceil_mode",    "largest",    "num_groups", "stash_type",
        "num_heads",   "kv_num_heads", "size",       "p",          "output_padding",
        "hidden_size", "output_shape", "q_num_heads", "columns",    "categoricals"};
    *made = (struct random_node){.node = {.op = (enum md_op)(next(state) % MD_OP_COUNT)}};
    struct md_node *node = &made->node;
    const struct md_op_info *info = md_op_info(node->op);
    int in_max = info->in_max < 0             ? 6
                 : info->in_max > MEMBERS_MAX ? MEMBERS_MAX
                                              : info->in_max,
        out_max = info->out_max < 0 ? 4 : info->out_max;
    node->in_count = info->in_min + (int)(next(state) % (uint64_t)(in_max - info->in_min + 1));
    node->out_count = info->out_min + (int)(next(state) % (uint64_t)(out_max - info->out_min + 1));
    for (int i = 0; i < node->in_count; i++) {
        random_member(&made->members[i], state);
        if (next(state) % 2 && i > 0)
            made->members[i].info.dtype = made->members[0].info.dtype;
        made->in[i] = made->members[i].info;
        if (i >= info->in_min && info->in_max >= 0 && next(state) % 3 == 0)
            made->in[i] = (struct md_value_info){0};
    }
    node->attr_count = (int)(next(state) % 4);
    for (int k = 0; k < node->attr_count; k++) {
        for (int i = 0; i < 8; i++)
            made->lists[k][i] =
                next(state) % 4 ? (int64_t)(next(state) % 8) - 4 : odd_number(state);
        made->attrs[k] =
            (struct md_attr){.name = names[next(state) % (sizeof names / sizeof *names)],
                             .type = next(state) % 2 ? MD_ATTR_INT : MD_ATTR_INTS,
                             .i = made->lists[k][0],
                             .ints = made->lists[k],
                             .count = (int)(next(state) % 8)};
    }
    node->name = "fuzzed";
    node->attrs = made->attrs;
}

static void random_nodes_never_break_a_rule(void **state)
{
    uint64_t random = 7;
    int good = 0;
    for (int round = 0; round < 60000; round++) {
        struct random_node made;
        random_node(&made, &random);
        enum md_status status = md__infer_node(&made.node, made.in, made.out, &err);
        if (status)
            assert_non_null(strstr(err.text, "\"fuzzed\""));
        for (int i = 0; !status && i < made.node.out_count; i++)
            for (int d = 0; d < made.out[i].shape.rank; d++)
                assert_true(made.out[i].shape.dim[d] >= MD_DIM_DATA);
        good += !status;
    }
    assert_in_range(good, 1000, 59000);
}

/* Tensors with the contents of the members, or with small numbers; false when one would be large.
 */
static bool make_tensors(const struct random_node *made, struct md_tensor *in)
{
    for (int i = 0; i < made->node.in_count; i++) {
        size_t count;
        if (!made->in[i].dtype)
            continue;
        if (md_shape_count(&made->in[i].shape, 1, &count, NULL) || count > 4096)
            return false;
        assert_ok(md_tensor_new(made->in[i].dtype, &made->in[i].shape, &in[i], &err));
        if (made->in[i].known)
            memcpy(in[i].data, made->in[i].known, md_tensor_bytes(&in[i]));
        else
            memset(in[i].data, 1, md_tensor_bytes(&in[i]));
    }
    return true;
}

static void kernels_survive_what_the_rules_accept(void **state)
{
    struct md_pool *pool;
    uint64_t random = 99;
    int ran = 0;
    assert_ok(md_pool_new(1, 0, &pool, &err));
    for (int round = 0; round < 60000; round++) {
        struct random_node made;
        struct md_tensor in[MEMBERS_MAX] = {{0}}, out[8] = {{0}};
        random_node(&made, &random);
        const struct md_backend *backend =
            round % 2 ? md_cpu_reference() : md_cpu_backend(MD_ISA_BEST);
        if (make_tensors(&made, in) &&
            !md__evaluate_node(backend, pool, &made.node, in, in, out, 1 << 20, &err)) {
            ran++;
            for (int i = 0; i < made.node.out_count; i++)
                md_tensor_unref(&out[i]);
        }
        for (int i = 0; i < made.node.in_count; i++)
            md_tensor_unref(&in[i]);
    }
    md_pool_delete(pool);
    assert_in_range(ran, 1000, 59000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_nodes_never_break_a_rule),
        cmocka_unit_test(kernels_survive_what_the_rules_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
