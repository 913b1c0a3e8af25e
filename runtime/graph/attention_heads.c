/*
 * Queries, keys and values of written-out attention as inputs of one node (attention_heads.h).
 *
 * Each side is followed back to what a kernel made. If that holds rows of heads, its rows go in; if
 * heads are some of the columns of a product by constant weights, those columns become a product of
 * their own, which moves nothing at run time; else the columns are sliced off. What is none of that
 * goes in as it was written, at worst through a Transpose.
 */
#include "graph/attention_heads.h"

#include <string.h>

#include "graph/body.h"

enum { CHAIN_MAX = 48 };

/* A side in one trace. */
struct side {
    struct md__view view;
    int64_t batch, heads, repeats, steps, width; /* heads are repeated for groups of queries */
    int64_t batch_stride, head_stride, step_stride, width_stride;
};

struct sides {
    struct side of[MD_REWRITE_TRACES];
    int value, count; /* count: traces */
    bool turned;      /* width before steps */
    bool found;       /* strides hold, too: the root can take the value's place */
};

/* The only factor of an axis. */
static bool one_factor(const struct md__view *view, int begin, int end, int64_t *stride)
{
    *stride = begin == end ? 0 : view->factors[begin].stride;
    return end - begin <= 1;
}

static bool read_sizes(const struct md__rewrite *rewrite, int t, int value, bool turned,
                       struct md_shape *shape, struct side *side)
{
    const struct md_value_info *info = md__facts_of(rewrite->facts, t, value);
    *shape = info ? info->shape : (struct md_shape){0};
    if (shape->rank == 3)
        *shape = md_shape_of(4, (int64_t[]){1, shape->dim[0], shape->dim[1], shape->dim[2]});
    side->repeats = 1;
    side->batch = shape->dim[0];
    side->heads = shape->dim[1];
    side->steps = shape->dim[turned ? 3 : 2];
    side->width = shape->dim[turned ? 2 : 3];
    return shape->rank == 4;
}

static bool read_strides(const struct md__rewrite *rewrite, int t, int value, bool turned,
                         bool scaled, const struct md_shape *shape, struct side *side)
{
    int begin[MD_RANK_MAX + 1], steps = turned ? 3 : 2, width = turned ? 2 : 3;
    if (!md__view_of(rewrite, t, value, scaled, &side->view) ||
        !md__view_axes(&side->view, shape, begin))
        return false;
    int heads = begin[2] - begin[1];
    if (heads >= 1 && side->view.factors[begin[2] - 1].stride == 0) {
        side->repeats = side->view.factors[begin[2] - 1].size;
        side->heads /= side->repeats;
        heads--;
    }
    return one_factor(&side->view, begin[0], begin[1], &side->batch_stride) &&
           one_factor(&side->view, begin[1], begin[1] + heads, &side->head_stride) &&
           one_factor(&side->view, begin[steps], begin[steps + 1], &side->step_stride) &&
           one_factor(&side->view, begin[width], begin[width + 1], &side->width_stride) &&
           (heads == 0 || side->head_stride > 0);
}

/* The side as it is seen in all traces, where only batch and steps may be of any size. */
static bool read_sides(const struct md__rewrite *rewrite, int value, bool turned, bool scaled,
                       struct sides *sides)
{
    *sides = (struct sides){
        .value = value, .count = rewrite->facts->count, .turned = turned, .found = true};
    for (int t = 0; t < sides->count; t++) {
        struct side *side = &sides->of[t], *first = &sides->of[0];
        struct md_shape shape;
        if (!read_sizes(rewrite, t, value, turned, &shape, side) || side->heads != first->heads ||
            side->width != first->width)
            return false;
    }
    for (int t = 0; t < sides->count && sides->found; t++) {
        struct side read = sides->of[t];
        const struct side *first = &sides->of[0];
        struct md_shape shape;
        sides->found =
            read_sizes(rewrite, t, value, turned, &shape, &read) &&
            read_strides(rewrite, t, value, turned, scaled, &shape, &read) &&
            (t == 0 ||
             (read.view.root == first->view.root && read.view.offset == first->view.offset &&
              read.view.scale == first->view.scale && read.repeats == first->repeats));
        if (sides->found)
            sides->of[t] = read;
    }
    for (int t = 0; t < sides->count && !sides->found; t++) {
        sides->of[t].heads *= sides->of[t].repeats;
        sides->of[t].repeats = 1;
    }
    return sides->count > 0;
}

/* ---- shapes ---- */

/*
 * The value as [d0, d1, ..]; dims[t] for each trace. One size may differ between traces. false when
 * more do.
 */
static enum md_status shape_as(struct md__rewrite *rewrite, const int64_t dims[][4], int rank,
                               int *value, bool *good, struct md_error *err)
{
    int64_t asked[4];
    bool same = md__rw_rank(rewrite, *value) == rank;
    int free_axes = 0;
    for (int a = 0; a < rank; a++) {
        bool fixed = true;
        for (int t = 0; t < rewrite->facts->count; t++) {
            const struct md_value_info *info = md__facts_of(rewrite->facts, t, *value);
            same = same && info && info->shape.dim[a] == dims[t][a];
            fixed &= dims[t][a] == dims[0][a];
        }
        asked[a] = fixed ? dims[0][a] : -1;
        free_axes += !fixed;
    }
    *good = same || free_axes <= 1;
    return same || !*good ? MD_OK : md__rw_reshape(rewrite, asked, rank, value, err);
}

/* ---- rows of heads ---- */

/* Floats of a row of the root when the side is rows of it, [batch, steps, row], in trace t. */
static int64_t row_of(const struct md__rewrite *rewrite, const struct sides *sides, int t)
{
    const struct side *side = &sides->of[t];
    const struct md_value_info *root = md__facts_of(rewrite->facts, t, side->view.root);
    int rank = root ? root->shape.rank : 0;
    if (rank == 0 || root->dtype != MD_F32)
        return 0;
    int64_t row = side->steps > 1 ? side->step_stride : root->shape.dim[rank - 1], count = 1;
    for (int a = 0; a < rank; a++)
        count *= root->shape.dim[a];
    int64_t last = side->view.offset + (side->heads - 1) * side->head_stride +
                   (side->width - 1) * side->width_stride;
    bool whole = side->batch == 1 || side->batch_stride == side->steps * row;
    return whole && row > 0 && last < row && side->batch * side->steps * row == count ? row : 0;
}

/* All rows of the root's own last axis, of the same length in all traces; 0 when it is not so. */
static int64_t common_row(const struct md__rewrite *rewrite, const struct sides *sides)
{
    int64_t row = row_of(rewrite, sides, 0);
    for (int t = 1; t < sides->count; t++)
        if (row_of(rewrite, sides, t) != row)
            return 0;
    return row;
}

static bool heads_touch(const struct side *side)
{
    return (side->heads == 1 || side->head_stride == side->width) &&
           (side->width == 1 || side->width_stride == 1);
}

/* [batch, steps, row] of the value. */
static enum md_status as_rows(struct md__rewrite *rewrite, const struct sides *sides, int64_t row,
                              int *value, bool *good, struct md_error *err)
{
    int64_t dims[MD_REWRITE_TRACES][4];
    for (int t = 0; t < sides->count; t++)
        memcpy(dims[t], (const int64_t[]){sides->of[t].batch, sides->of[t].steps, row},
               3 * sizeof **dims);
    return shape_as(rewrite, dims, 3, value, good, err);
}

/* ---- columns of a product ---- */

/* The product by constant weights that makes the value, with a bias or without. */
static const struct md_node *product_of(const struct md__rewrite *rewrite, int value, bool *turned)
{
    int maker = rewrite->graph->values[value].producer;
    const struct md_node *node = maker == MD_NONE ? NULL : &rewrite->graph->nodes[maker];
    if (!node || node->region != MD_NONE)
        return NULL;
    bool linear = node->op == MD_OP_LINEAR;
    if ((!linear && node->op != MD_OP_MATMUL) || md__body_in(node, 3) != MD_NONE ||
        md_node_string(node, "activation", "")[0])
        return NULL;
    const struct md_tensor *weights = md__rw_weights(rewrite, node->in[1]);
    *turned = linear && md_node_int(node, "transB", 1);
    if (!weights || weights->shape.rank != 2 || md__rw_rank(rewrite, node->in[0]) < 2)
        return NULL;
    int bias = md__body_in(node, 2);
    return bias == MD_NONE || md__rw_weights(rewrite, bias) ? node : NULL;
}

/* Rows [count of columns, inputs] of the weights: column h * width + w of the heads. */
static enum md_status take_columns(const struct md_tensor *weights, bool turned,
                                   const struct side *side, struct md_tensor *taken,
                                   struct md_error *err)
{
    int64_t inputs = weights->shape.rank == 1 ? 1 : weights->shape.dim[turned ? 1 : 0];
    int64_t all = weights->shape.dim[weights->shape.rank == 1 || turned ? 0 : 1];
    int64_t columns = side->heads * side->width;
    struct md_shape shape = weights->shape.rank == 1 ? md_shape_of(1, &columns)
                            : turned                 ? md_shape_of(2, (int64_t[]){columns, inputs})
                                                     : md_shape_of(2, (int64_t[]){inputs, columns});
    enum md_status status = md_tensor_new(MD_F32, &shape, taken, err);
    const float *from = weights->data;
    float *to = status ? NULL : taken->data;
    for (int64_t outer = 0; !status && outer < (turned ? 1 : inputs); outer++)
        for (int64_t c = 0; c < columns; c++) {
            int64_t column = side->view.offset + c / side->width * side->head_stride +
                             c % side->width * side->width_stride;
            if (turned)
                memcpy(to + c * inputs, from + column * inputs, (size_t)inputs * sizeof *to);
            else
                to[outer * columns + c] = from[outer * all + column];
        }
    return status;
}

static enum md_status add_columns(struct md__rewrite *rewrite, int constant, bool turned,
                                  const struct side *side, int *value, struct md_error *err)
{
    struct md_tensor taken;
    enum md_status status =
        take_columns(md__rw_constant(rewrite, constant), turned, side, &taken, err);
    if (status)
        return status;
    status = md__rw_add_constant(rewrite, &taken, value, err);
    md_tensor_unref(&taken);
    return status;
}

/* The side's columns as a product of their own; MD_NONE when the root is none. */
static enum md_status own_product(struct md__rewrite *rewrite, const struct side *side, int64_t row,
                                  int *value, struct md_error *err)
{
    bool turned = false;
    const struct md_node *node = product_of(rewrite, side->view.root, &turned);
    *value = MD_NONE;
    if (!node || md__rw_dim(rewrite, node->out[0], -1) != row)
        return MD_OK;
    int in[] = {node->in[0], node->in[1], md__body_in(node, 2)};
    enum md_op op = node->op;
    const struct md_attr transposed = MD_INT_ATTR("transB", turned);
    enum md_status status = add_columns(rewrite, in[1], turned, side, &in[1], err);
    if (!status && in[2] != MD_NONE)
        status = add_columns(rewrite, in[2], false, side, &in[2], err);
    if (status)
        return status;
    if (op == MD_OP_MATMUL)
        return md__rw_node(rewrite, "MatMul", in, 2, NULL, 0, value, 1, err);
    return md__rw_fused(rewrite, op, in, in[2] == MD_NONE ? 2 : 3, &transposed, 1, value, err);
}

static enum md_status slice_columns(struct md__rewrite *rewrite, const struct side *side,
                                    int *value, struct md_error *err)
{
    int64_t begin = side->view.offset;
    return md__rw_slice(rewrite, begin, begin + side->heads * side->width, 2, value, err);
}

/* ---- who else reads it ---- */

struct chain {
    int nodes[CHAIN_MAX], count;
    bool long_; /* than there is room for */
};

static void walk(const struct md__rewrite *rewrite, int value, int root, struct chain *chain)
{
    while (value != root && !chain->long_) {
        int node = rewrite->graph->values[value].producer;
        chain->long_ |= node == MD_NONE;
        if (chain->long_)
            return;
        const struct md_node *maker = &rewrite->graph->nodes[node];
        for (int i = 0; i < chain->count; i++)
            if (chain->nodes[i] == node)
                return;
        chain->long_ = chain->count == CHAIN_MAX;
        if (chain->long_)
            return;
        chain->nodes[chain->count++] = node;
        bool first = md__rw_constant(rewrite, maker->in[0]) == NULL;
        value = maker->in[first ? 0 : 1];
    }
}

static int reads_in(const struct md__rewrite *rewrite, const struct chain *chain, int value)
{
    int reads = 0;
    for (int i = 0; i < chain->count; i++) {
        const struct md_node *node = &rewrite->graph->nodes[chain->nodes[i]];
        for (int k = 0; k < node->in_count; k++)
            reads += node->in[k] == value;
    }
    return reads;
}

/* Nothing but the sides reads the root, so that it goes once they are taken from it. */
static bool serves_only(const struct md__rewrite *rewrite, int root, const struct sides *sides)
{
    struct chain chain = {.count = 0};
    for (int s = 0; s < 3; s++)
        if (sides[s].found && sides[s].of[0].view.root == root)
            walk(rewrite, sides[s].value, root, &chain);
    bool only = !chain.long_ && reads_in(rewrite, &chain, root) == rewrite->readers[root];
    for (int i = 0; only && i < chain.count; i++) {
        const struct md_node *node = &rewrite->graph->nodes[chain.nodes[i]];
        for (int k = 0; only && k < node->out_count; k++) {
            int reads = reads_in(rewrite, &chain, node->out[k]);
            for (int s = 0; s < 3; s++)
                reads += sides[s].value == node->out[k];
            only = reads == rewrite->readers[node->out[k]];
        }
    }
    return only;
}

/* ---- inputs ---- */

/* [batch, heads, steps, width] of a root that lies so. */
static bool lies_by_heads(const struct md__rewrite *rewrite, const struct sides *sides,
                          int64_t dims[][4])
{
    bool so = true;
    for (int t = 0; so && t < sides->count; t++) {
        const struct side *side = &sides->of[t];
        const struct md_value_info *root = md__facts_of(rewrite->facts, t, side->view.root);
        int64_t count = side->batch * side->heads * side->steps * side->width, all = 1;
        for (int a = 0; root && a < root->shape.rank; a++)
            all *= root->shape.dim[a];
        so = root && root->dtype == MD_F32 && all == count && side->view.offset == 0 &&
             (side->width == 1 || side->width_stride == 1) &&
             (side->steps == 1 || side->step_stride == side->width) &&
             (side->heads == 1 || side->head_stride == side->width * side->steps) &&
             (side->batch == 1 || side->batch_stride == side->width * side->steps * side->heads);
        memcpy(dims[t], (const int64_t[]){side->batch, side->heads, side->steps, side->width},
               4 * sizeof **dims);
    }
    return so;
}

/* What was found, as an input; MD_NONE in *value when it cannot go in without a move. */
static enum md_status put_found(struct md__rewrite *rewrite, const struct sides *all, int s,
                                int *value, struct md_error *err)
{
    const struct sides *sides = &all[s];
    const struct side *side = &sides->of[0];
    int64_t row = common_row(rewrite, sides), dims[MD_REWRITE_TRACES][4];
    bool good = true, exact = heads_touch(side) && side->heads * side->width == row;
    enum md_status status = MD_OK;
    *value = side->view.root;
    if (row > 0 && exact) {
        status = as_rows(rewrite, sides, row, value, &good, err);
    } else if (row > 0) {
        *value = MD_NONE;
        if (serves_only(rewrite, side->view.root, all))
            status = own_product(rewrite, side, row, value, err);
        if (!status && *value != MD_NONE) {
            status = as_rows(rewrite, sides, side->heads * side->width, value, &good, err);
        } else if (!status && heads_touch(side)) {
            *value = side->view.root;
            status = as_rows(rewrite, sides, row, value, &good, err);
            if (!status && good)
                status = slice_columns(rewrite, side, value, err);
        }
    } else if (lies_by_heads(rewrite, sides, dims)) {
        status = shape_as(rewrite, (const int64_t(*)[4])dims, 4, value, &good, err);
    } else {
        good = false;
    }
    if (!good)
        *value = MD_NONE;
    return status;
}

/* The side as it was written: [batch, heads, steps, width]. */
static enum md_status put_written(struct md__rewrite *rewrite, struct sides *sides, int *value,
                                  struct md_error *err)
{
    int rank = md__rw_rank(rewrite, sides->value);
    const int64_t four[] = {0, 1, 3, 2}, three[] = {0, 2, 1};
    const struct md_attr perm = MD_INTS_ATTR("perm", rank == 4 ? four : three, rank);
    int64_t dims[MD_REWRITE_TRACES][4];
    bool good = true;
    enum md_status status = MD_OK;
    *value = sides->value;
    if (sides->turned)
        status = md__rw_node(rewrite, "Transpose", value, 1, &perm, 1, value, 1, err);
    for (int t = 0; t < sides->count; t++) {
        const struct side *side = &sides->of[t];
        memcpy(
            dims[t],
            (const int64_t[]){side->batch, side->heads * side->repeats, side->steps, side->width},
            4 * sizeof **dims);
    }
    if (!status)
        status = shape_as(rewrite, (const int64_t(*)[4])dims, 4, value, &good, err);
    if (!good)
        *value = MD_NONE;
    return status;
}

/* Sides of fitting sizes, whatever the traces are. */
static bool agree(const struct sides *sides)
{
    for (int t = 0; t < sides->count; t++) {
        const struct side *q = &sides[0].of[t], *k = &sides[1].of[t], *v = &sides[2].of[t];
        if (q->batch != k->batch || q->batch != v->batch || k->steps != v->steps ||
            q->width != k->width || q->heads * q->repeats != k->heads * k->repeats ||
            k->heads * k->repeats != v->heads * v->repeats)
            return false;
    }
    return true;
}

enum md_status md__heads_find(struct md__rewrite *rewrite, const int values[3],
                              struct md__attention *attention, bool *good, struct md_error *err)
{
    struct sides sides[3];
    *good = true;
    for (int s = 0; s < 3 && *good; s++)
        *good = read_sides(rewrite, values[s], s == 1, s < 2, &sides[s]);
    if (!*good || !agree(sides))
        return *good = false, MD_OK;
    bool grouped = sides[0].of[0].repeats == 1 && sides[1].of[0].repeats == sides[2].of[0].repeats;
    attention->heads = sides[0].of[0].heads * sides[0].of[0].repeats;
    attention->v_width = sides[2].of[0].width;
    attention->kv_heads = grouped ? sides[1].of[0].heads : attention->heads;
    enum md_status status = MD_OK;
    for (int s = 0; s < 3 && !status; s++) {
        bool own = sides[s].found && (s > 0 ? grouped : sides[0].of[0].repeats == 1);
        attention->in[s] = MD_NONE;
        if (own)
            status = put_found(rewrite, sides, s, &attention->in[s], err);
        if (status)
            return status;
        if (attention->in[s] != MD_NONE) {
            attention->scale *= sides[s].of[0].view.scale;
            continue;
        }
        if (s > 0 && attention->kv_heads != attention->heads)
            return *good = false, MD_OK;
        status = put_written(rewrite, &sides[s], &attention->in[s], err);
        *good &= attention->in[s] != MD_NONE;
    }
    *good = *good && attention->scale > 0;
    return status;
}
