/*
 * Rotary embeddings that are written out become the standard's RotaryEmbedding:
 *
 *     x * cos + Concat(-x2, x1) * sin        x1, x2: the halves of x's last axis
 *
 * with tables whose halves are equal, as [steps, width] after any number of ones: constants, or
 * made by joining one thing with itself. Heads that a Transpose has just brought forward are turned
 * before it, so that it can meet another one. Only where the backend has a kernel of its own.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/rewrite.h"

/* Reads [begin, end) of x's last axis, all of it a Slice or one output of a Split in two. */
static bool is_half(const struct md__rewrite *rewrite, int value, int x, bool second)
{
    int64_t starts, ends, axis, step, width = md__rw_dim(rewrite, x, -1);
    int rank = md__rw_rank(rewrite, x);
    if (width <= 0 || width % 2 || md__rw_dim(rewrite, value, -1) != width / 2)
        return false;
    const struct md_node *node = md__rw_maker(rewrite, value, MD_OP_SPLIT);
    if (node) {
        axis = md_node_int(node, "axis", 0);
        return node->in[0] == x && node->out_count == 2 && node->out[second] == value &&
               (axis == -1 || axis == rank - 1);
    }
    node = md__rw_maker(rewrite, value, MD_OP_SLICE);
    if (!node || node->in[0] != x || md__rw_ints(rewrite, node->in[1], &starts, 1) != 1 ||
        md__rw_ints(rewrite, node->in[2], &ends, 1) != 1 ||
        md__rw_ints(rewrite, md__body_in(node, 3), &axis, 1) != 1 ||
        (axis != -1 && axis != rank - 1))
        return false;
    int steps = md__body_in(node, 4);
    if (steps != MD_NONE && (md__rw_ints(rewrite, steps, &step, 1) != 1 || step != 1))
        return false;
    starts += starts < 0 ? width : 0;
    return starts == (second ? width / 2 : 0);
}

/* Concat(-x2, x1) over the last axis. */
static bool is_turned(const struct md__rewrite *rewrite, int value, int x)
{
    const struct md_node *join = md__rw_maker(rewrite, value, MD_OP_CONCAT);
    int rank = md__rw_rank(rewrite, x);
    if (!join || join->in_count != 2 ||
        (md_node_int(join, "axis", 0) != -1 && md_node_int(join, "axis", 0) != rank - 1))
        return false;
    const struct md_node *negative = md__rw_maker(rewrite, join->in[0], MD_OP_NEG);
    return negative && is_half(rewrite, negative->in[0], x, true) &&
           is_half(rewrite, join->in[1], x, false);
}

static bool constant_repeats(const struct md_tensor *table)
{
    int rank = table->shape.rank;
    size_t width = rank ? (size_t)table->shape.dim[rank - 1] : 0, half = width / 2;
    const float *row = table->data;
    for (size_t left = width ? md_tensor_count(table) / width : 0; left > 0; left--, row += width)
        if (memcmp(row, row + half, half * sizeof *row) != 0)
            return false;
    return width > 0 && width % 2 == 0;
}

/* Both halves of the last axis are the same. */
static bool repeats(const struct md__rewrite *rewrite, int value, int depth)
{
    const struct md_tensor *table = md__rw_weights(rewrite, value);
    int maker = rewrite->graph->values[value].producer, rank = md__rw_rank(rewrite, value);
    const struct md_node *node = maker == MD_NONE ? NULL : &rewrite->graph->nodes[maker];
    double number;
    if (table)
        return constant_repeats(table);
    if (!node || depth == 0 || rank < 1)
        return false;
    switch (node->op) {
    case MD_OP_COS:
    case MD_OP_SIN:
        return repeats(rewrite, node->in[0], depth - 1);
    case MD_OP_UNSQUEEZE:
        return md__rw_dim(rewrite, node->in[0], -1) == md__rw_dim(rewrite, value, -1) &&
               md__rw_dim(rewrite, value, -1) > 1 && repeats(rewrite, node->in[0], depth - 1);
    case MD_OP_MUL:
        return md__rw_number(rewrite, node->in[1], &number) &&
               md__rw_same_shape(rewrite, node->in[0], value) &&
               repeats(rewrite, node->in[0], depth - 1);
    case MD_OP_CONCAT:
        return node->in_count == 2 && node->in[0] == node->in[1] &&
               (md_node_int(node, "axis", 0) == -1 || md_node_int(node, "axis", 0) == rank - 1);
    default:
        return false;
    }
}

struct rotary {
    int x, tables[2]; /* cosine, sine */
};

/* x * cos, or what x becomes times sin: which of the operands is the table. */
static bool find(const struct md__rewrite *rewrite, const struct md_node *sum,
                 struct rotary *rotary)
{
    for (int i = 0; i < 8; i++) {
        const struct md_node *plain = md__rw_sole_maker(rewrite, sum->in[i & 1]);
        const struct md_node *turned = md__rw_sole_maker(rewrite, sum->in[!(i & 1)]);
        if (!plain || !turned || plain->op != MD_OP_MUL || turned->op != MD_OP_MUL)
            return false;
        int a = i >> 1 & 1, b = i >> 2;
        rotary->x = plain->in[a];
        rotary->tables[0] = plain->in[!a];
        rotary->tables[1] = turned->in[!b];
        if (is_turned(rewrite, turned->in[b], rotary->x))
            return true;
    }
    return false;
}

/* The table serves every head and batch element alike: [1.., steps, width]. */
static bool fits(const struct md__rewrite *rewrite, int table, int x)
{
    int rank = md__rw_rank(rewrite, table);
    bool good = rank >= 2 && rank <= 4 && md__rw_dtype(rewrite, table) == MD_F32;
    for (int t = 0; good && t < rewrite->facts->count; t++) {
        const struct md_value_info *own = md__facts_of(rewrite->facts, t, table);
        const struct md_value_info *all = md__facts_of(rewrite->facts, t, x);
        good = own && all && own->shape.dim[rank - 1] == all->shape.dim[3] &&
               own->shape.dim[rank - 2] == all->shape.dim[2];
        for (int a = 0; good && a < rank - 2; a++)
            good = own->shape.dim[a] == 1;
    }
    return good && repeats(rewrite, table, 6);
}

/* [1, steps, half] of a table. */
static enum md_status halve_constant(struct md__rewrite *rewrite, const struct md_tensor *table,
                                     int *value, struct md_error *err)
{
    int rank = table->shape.rank;
    int64_t steps = table->shape.dim[rank - 2], width = table->shape.dim[rank - 1];
    struct md_tensor half;
    const struct md_shape shape = {3, {1, steps, width / 2}};
    enum md_status status = md_tensor_new(MD_F32, &shape, &half, err);
    if (status)
        return status;
    for (int64_t row = 0; row < steps; row++)
        memcpy((float *)half.data + row * (width / 2), (const float *)table->data + row * width,
               (size_t)(width / 2) * sizeof(float));
    status = md__rw_add_constant(rewrite, &half, value, err);
    md_tensor_unref(&half);
    return status;
}

static enum md_status halve(struct md__rewrite *rewrite, int64_t width, int *table,
                            struct md_error *err)
{
    const struct md_tensor *constant = md__rw_weights(rewrite, *table);
    const int64_t dims[] = {1, -1, width / 2};
    if (constant)
        return halve_constant(rewrite, constant, table, err);
    enum md_status status = md__rw_slice(rewrite, 0, width / 2, -1, table, err);
    return status ? status : md__rw_reshape(rewrite, dims, 3, table, err);
}

/* Transpose(x, [0, 2, 1, 3]), of [batch, steps, heads, width]: x. */
static int before_heads(const struct md__rewrite *rewrite, int value)
{
    const struct md_node *node = md__rw_maker(rewrite, value, MD_OP_TRANSPOSE);
    const struct md_attr *perm = node ? md_node_attr(node, "perm") : NULL;
    const int64_t wanted[] = {0, 2, 1, 3};
    bool so = perm && perm->count == 4 && memcmp(perm->ints, wanted, sizeof wanted) == 0;
    return so ? node->in[0] : MD_NONE;
}

static enum md_status put(struct md__rewrite *rewrite, int n, const struct rotary *rotary,
                          struct md_error *err)
{
    int64_t heads = md__rw_dim(rewrite, rotary->x, 1), width = md__rw_dim(rewrite, rotary->x, 3);
    int rows = before_heads(rewrite, rotary->x), value = rows == MD_NONE ? rotary->x : rows;
    const int64_t flat[] = {0, 0, heads * width}, apart[] = {0, 0, heads, width};
    const int64_t order[] = {0, 2, 1, 3};
    int in[] = {value, rotary->tables[0], rotary->tables[1]};
    enum md_status status = MD_OK;
    for (int i = 1; !status && i < 3; i++)
        status = halve(rewrite, width, &in[i], err);
    if (!status && rows != MD_NONE)
        status = md__rw_reshape(rewrite, flat, 3, &in[0], err);
    const struct md_attr attrs[] = {MD_INT_ATTR("num_heads", heads)};
    const struct md_attr perm = MD_INTS_ATTR("perm", order, 4);
    if (!status)
        status =
            md__rw_node(rewrite, "RotaryEmbedding", in, 3, attrs, rows != MD_NONE, &value, 1, err);
    if (!status && rows != MD_NONE) {
        status = md__rw_reshape(rewrite, apart, 4, &value, err);
        if (!status)
            status = md__rw_node(rewrite, "Transpose", (const int[]){value}, 1, &perm, 1, &value, 1,
                                 err);
    }
    if (!status)
        md__rw_replace(rewrite, n, &value);
    return status;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    const struct md_node *node = &rewrite->graph->nodes[n];
    struct rotary rotary;
    if (node->op != MD_OP_ADD || md__rw_dtype(rewrite, node->out[0]) != MD_F32 ||
        md__rw_rank(rewrite, node->out[0]) != 4 || !find(rewrite, node, &rotary) ||
        !md__rw_same_shape(rewrite, rotary.x, node->out[0]) ||
        md__rw_dim(rewrite, rotary.x, 0) != 1 || md__rw_dim(rewrite, rotary.x, 1) < 1 ||
        !fits(rewrite, rotary.tables[0], rotary.x) || !fits(rewrite, rotary.tables[1], rotary.x))
        return MD_OK;
    return put(rewrite, n, &rotary, err);
}

enum md_status md__pass_rotary(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err)
{
    if (!md__has_own_kernel(options, MD_OP_ROTARY_EMBEDDING))
        return MD_OK;
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
