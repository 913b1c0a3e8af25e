/*
 * Reference Einsum, any equation: loops over the output's labels, inside them over the summed ones.
 *
 * The longest label of all is the plain loop, a block at a time: when it belongs to the output, a
 * block of results is summed up side by side, otherwise a block of products is added to one result.
 * Products of more than two operands are not reordered into cheaper pairs.
 */
#include "graph/einsum.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

/* An odometer over some labels that keeps an offset into every operand, and into the output. */
struct loop {
    int rank, operands;
    int label[MD__EINSUM_LABELS_MAX];
    int64_t index[MD__EINSUM_LABELS_MAX];
    int64_t at[MD__EINSUM_OPERANDS_MAX + 1];
    size_t count;
};

struct einsum {
    const struct md_kernel_call *call;
    struct md__einsum parsed;
    /* of every operand, then of the output, along each label */
    int64_t stride[MD__EINSUM_OPERANDS_MAX + 1][MD__EINSUM_LABELS_MAX];
    int run; /* the label of the plain loop */
    int64_t run_length;
    struct loop outer, summed; /* without the run */
};

static void loop_next(const struct einsum *einsum, struct loop *loop)
{
    for (int i = loop->rank - 1; i >= 0; i--) {
        int label = loop->label[i];
        int64_t dim = einsum->parsed.dim[label];
        bool wraps = ++loop->index[i] == dim;
        for (int k = 0; k <= loop->operands; k++)
            loop->at[k] += einsum->stride[k][label] * (wraps ? 1 - dim : 1);
        if (!wraps)
            return;
        loop->index[i] = 0;
    }
}

static void loop_seek(const struct einsum *einsum, struct loop *loop, size_t position)
{
    for (int k = 0; k <= loop->operands; k++)
        loop->at[k] = 0;
    for (int i = loop->rank - 1; i >= 0; i--) {
        int label = loop->label[i];
        size_t dim = (size_t)einsum->parsed.dim[label];
        loop->index[i] = (int64_t)(position % dim);
        position /= dim;
        for (int k = 0; k <= loop->operands; k++)
            loop->at[k] += einsum->stride[k][label] * loop->index[i];
    }
}

/* Elements of operand k for `count` steps of the run from `first`. */
static size_t position(const struct einsum *einsum, const struct loop *outer,
                       const struct loop *summed, int k, size_t first)
{
    return (size_t)(outer->at[k] + summed->at[k] + (int64_t)first * einsum->stride[k][einsum->run]);
}

static void multiply_reals(const struct einsum *einsum, const struct loop *outer,
                           const struct loop *summed, size_t first, size_t count, double *x)
{
    const struct md_tensor *in = einsum->call->in;
    double y[MD__BLOCK];
    for (int k = 0; k < einsum->call->in_count; k++) {
        md__load_floats(&in[k], position(einsum, outer, summed, k, first),
                        einsum->stride[k][einsum->run], count, k ? y : x);
        for (size_t i = 0; k && i < count; i++)
            x[i] *= y[i];
    }
}

static void multiply_integers(const struct einsum *einsum, const struct loop *outer,
                              const struct loop *summed, size_t first, size_t count, int64_t *x)
{
    const struct md_tensor *in = einsum->call->in;
    int64_t y[MD__BLOCK];
    for (int k = 0; k < einsum->call->in_count; k++) {
        md__load_ints(&in[k], position(einsum, outer, summed, k, first),
                      einsum->stride[k][einsum->run], count, k ? y : x);
        for (size_t i = 0; k && i < count; i++)
            x[i] = (int64_t)((uint64_t)x[i] * (uint64_t)y[i]);
    }
}

/* All products of one outer position and `count` steps of the run: side by side into total[], or
 * all into total[0]. */
static void sum_reals(const struct einsum *einsum, const struct loop *outer, size_t first,
                      size_t count, bool side_by_side, double *total)
{
    struct loop summed = einsum->summed;
    double x[MD__BLOCK];
    for (size_t s = 0; s < summed.count; s++, loop_next(einsum, &summed)) {
        multiply_reals(einsum, outer, &summed, first, count, x);
        for (size_t i = 0; i < count; i++)
            total[side_by_side ? i : 0] += x[i];
    }
}

static void sum_integers(const struct einsum *einsum, const struct loop *outer, size_t first,
                         size_t count, bool side_by_side, int64_t *total)
{
    struct loop summed = einsum->summed;
    int64_t x[MD__BLOCK];
    for (size_t s = 0; s < summed.count; s++, loop_next(einsum, &summed)) {
        multiply_integers(einsum, outer, &summed, first, count, x);
        for (size_t i = 0; i < count; i++) {
            int64_t *to = &total[side_by_side ? i : 0];
            *to = (int64_t)((uint64_t)*to + (uint64_t)x[i]);
        }
    }
}

static void one_position(const struct einsum *einsum, const struct loop *outer)
{
    const struct md_tensor *out = &einsum->call->out[0];
    bool real = md__dtype_is_float(out->dtype), side = einsum->run < einsum->parsed.out_rank;
    double x[MD__BLOCK] = {0};
    int64_t n[MD__BLOCK] = {0};
    int operands = outer->operands;
    int64_t step = einsum->stride[operands][einsum->run];
    size_t length = (size_t)einsum->run_length, at = (size_t)outer->at[operands];
    for (size_t first = 0; first < length; first += MD__BLOCK) {
        size_t count = length - first < MD__BLOCK ? length - first : MD__BLOCK;
        for (size_t i = 0; side && i < count; i++)
            x[i] = (double)(n[i] = 0);
        if (real)
            sum_reals(einsum, outer, first, count, side, x);
        else
            sum_integers(einsum, outer, first, count, side, n);
        if (side && real)
            md__store_floats(out, at + first * (size_t)step, step, count, x);
        else if (side)
            md__store_ints(out, at + first * (size_t)step, step, count, n);
    }
    if (!side && real)
        md__set_float(out, at, x[0]);
    else if (!side)
        md__set_int(out, at, n[0]);
}

static void einsum_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct einsum *einsum = context;
    struct loop outer = einsum->outer;
    loop_seek(einsum, &outer, begin);
    for (size_t i = begin; i < end; i++, loop_next(einsum, &outer))
        one_position(einsum, &outer);
}

static void set_strides(struct einsum *einsum)
{
    const struct md_kernel_call *call = einsum->call;
    const struct md__einsum *parsed = &einsum->parsed;
    int64_t stride[MD_RANK_MAX];
    for (int k = 0; k < call->in_count; k++) {
        md__strides(&call->in[k].shape, stride);
        for (int i = 0; i < call->in[k].shape.rank; i++)
            if (call->in[k].shape.dim[i] != 1) /* a repeated label walks a diagonal */
                einsum->stride[k][parsed->label[k][i]] += stride[i];
    }
    md__strides(&call->out[0].shape, stride);
    for (int i = 0; i < parsed->out_rank; i++)
        einsum->stride[call->in_count][i] = stride[i];
}

static void set_loops(struct einsum *einsum)
{
    const struct md__einsum *parsed = &einsum->parsed;
    einsum->run_length = 1;
    for (int label = 0; label < parsed->labels; label++)
        if (parsed->dim[label] > einsum->run_length || label == 0) {
            einsum->run = label;
            einsum->run_length = parsed->dim[label];
        }
    einsum->outer.operands = einsum->summed.operands = einsum->call->in_count;
    einsum->outer.count = einsum->summed.count = 1;
    for (int label = 0; label < parsed->labels; label++) {
        struct loop *loop = label < parsed->out_rank ? &einsum->outer : &einsum->summed;
        if (label == einsum->run)
            continue;
        loop->label[loop->rank++] = label;
        loop->count *= (size_t)parsed->dim[label];
    }
}

static enum md_status einsum_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct einsum einsum = {.call = call};
    const struct md_shape *shapes[MD__EINSUM_OPERANDS_MAX];
    for (int i = 0; i < call->in_count && i < MD__EINSUM_OPERANDS_MAX; i++)
        shapes[i] = &call->in[i].shape;
    enum md_status status = md__einsum_parse(md_node_string(call->node, "equation", ""), shapes,
                                             call->in_count, &einsum.parsed, err);
    if (status)
        return status;
    set_strides(&einsum);
    set_loops(&einsum);
    size_t cost = (size_t)einsum.run_length * einsum.summed.count * (size_t)call->in_count * 2;
    md__parallel(call->pool, einsum.outer.count, md__grain(cost + 64), einsum_some, &einsum);
    return MD_OK;
}

static bool einsum_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)node, (void)in_count;
    return in[0].dtype != MD_BOOL;
}

const struct md_kernel md__ref_einsum = {.supports = einsum_supports, .run = einsum_run};
