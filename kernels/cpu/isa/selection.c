/*
 * VariableSelection (graph/fused.md): up to LANE_ROWS rows at a time go through the scoring
 * network, the softmax and every variable's network, and are summed; nothing between is written to
 * memory beyond a block's scratch, which stays in the first caches.
 *
 * Sharing (attribute `share`, which the pass of that name sets). x is sequences of steps, and what
 * is known of the future, hours or positions, is often the same in all of them. A real variable
 * whose columns are equal bit by bit is encoded for the steps of one sequence, in lanes as the
 * others will want it, and only weighed and added for each.
 */
#include "kernels/cpu/isa/selection.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/network.h"

#define SHARED_MAX 64 /* real variables that are looked at: bits of a word */

/* x as sequences of steps; without sharing one sequence, which is all rows. */
struct sharing {
    size_t sequences, steps, blocks; /* blocks: of LANE_ROWS steps, in a sequence */
    _Atomic uint64_t reals;          /* bit i: real variable i is the same in all sequences */
    float *encoded;                  /* of each shared real in turn: [blocks][units][LANE_ROWS] */
};

struct selecting {
    const struct folded_selection *net;
    const struct md_kernel_call *call;
    struct sharing sharing;
    size_t columns;       /* of x */
    const float *context; /* products of the context rows, padded(hidden) apart; NULL: none */
    struct context_map map;
    float *scratch; /* per thread: block_floats() */
};

/* A block's buffers, all in lanes. */
struct block {
    size_t first, rows;
    float *seen;    /* [seen] embeddings, then reals */
    float *a, *b;   /* [tiled(hidden_max)] */
    float *skip;    /* [tiled(variables)], then addends of the context [hidden] */
    float *weights; /* [tiled(variables)] */
    float *y, *sum; /* [tiled(units)] */
};

static size_t block_floats(const struct folded_selection *net)
{
    size_t wide = net->hidden > net->variables ? net->hidden : net->variables;
    return LANE_ROWS * (net->seen + 2 * tiled(net->hidden_max) + tiled(wide) +
                        tiled(net->variables) + 2 * tiled(net->units));
}

static struct block block_at(const struct folded_selection *net, float *memory)
{
    size_t wide = net->hidden > net->variables ? net->hidden : net->variables;
    struct block block = {.seen = memory};
    block.a = feature(block.seen, net->seen);
    block.b = feature(block.a, tiled(net->hidden_max));
    block.skip = feature(block.b, tiled(net->hidden_max));
    block.weights = feature(block.skip, tiled(wide));
    block.y = feature(block.weights, tiled(net->variables));
    block.sum = feature(block.y, tiled(net->units));
    return block;
}

/* ---- rows to lanes and back ------------------------------------------------------------------ */

/* Feature k of `block` = column k of rows that lie `stride` floats apart; lanes past rows get 0. */
static void to_lanes(const float *rows, size_t stride, size_t count, size_t features, float *block)
{
    for (size_t k = 0; k < features; k++) {
        float *lane = feature(block, k);
        for (size_t r = 0; r < count; r++)
            lane[r] = rows[r * stride + k];
        for (size_t r = count; r < LANE_ROWS; r++)
            lane[r] = 0;
    }
}

static void from_lanes(const float *block, size_t count, size_t features, float *rows)
{
    for (size_t r = 0; r < count; r++)
        for (size_t k = 0; k < features; k++)
            rows[r * features + k] = block[k * LANE_ROWS + r];
}

static void gather_seen(const struct selecting *selecting, const struct block *block)
{
    const struct folded_selection *net = selecting->net;
    float *at = block->seen;
    for (size_t i = 0; i < net->categoricals; i++) {
        const float *rows = selecting->call->in[md__selection_categorical((int)i)].data;
        to_lanes(rows + block->first * net->embedded[i], net->embedded[i], block->rows,
                 net->embedded[i], at);
        at = feature(at, net->embedded[i]);
    }
    const float *x = selecting->call->in[0].data;
    for (size_t i = 0; i < net->reals; i++, at = feature(at, 1))
        to_lanes(x + block->first * selecting->columns + net->real[i].column, selecting->columns,
                 block->rows, 1, at);
}

/* ---- the scores ------------------------------------------------------------------------------ */

/* a += the products of the rows' contexts. */
static void add_context(const struct selecting *selecting, const struct block *block)
{
    size_t hidden = selecting->net->hidden, wide = padded(hidden);
    for (size_t r = 0; r < block->rows; r++) {
        size_t row = block->first + r;
        const float *from =
            selecting->context + row / selecting->map.group % selecting->map.contexts * wide;
        for (size_t h = 0; h < hidden; h++)
            block->a[h * LANE_ROWS + r] += from[h];
    }
}

INLINE void elu_lanes(float *x, size_t features)
{
    for (size_t i = 0; i < features * LANE_ROWS; i += VL) {
        vf t = load(x + i);
        elu_each(&t, 1);
        store(x + i, t);
    }
}

/* x = LN(x) over its features. */
INLINE void normalize_lanes(float *x, size_t features, const float *gamma, const float *beta,
                            float epsilon, const int vectors)
{
    vf mean[LANE_VECTORS] = {0}, inverse[LANE_VECTORS];
    for (size_t k = 0; k < features; k++)
        for (int v = 0; v < vectors; v++)
            mean[v] += load(feature(x, k) + v * VL);
    for (int v = 0; v < vectors; v++)
        mean[v] /= (float)features;
    inverse_deviation(x, features, mean, epsilon, inverse, vectors);
    for (size_t k = 0; k < features; k++)
        for (int v = 0; v < vectors; v++) {
            float *at = feature(x, k) + v * VL;
            store(at, (load(at) - mean[v]) * inverse[v] * gamma[k] + beta[k]);
        }
}

INLINE void softmax_lanes(float *x, size_t features, const int vectors)
{
    vf max[LANE_VECTORS], sum[LANE_VECTORS] = {0};
    for (int v = 0; v < vectors; v++)
        max[v] = load(x + v * VL);
    for (size_t k = 1; k < features; k++)
        for (int v = 0; v < vectors; v++)
            max[v] = vmax(max[v], load(feature(x, k) + v * VL));
    for (size_t k = 0; k < features; k++)
        for (int v = 0; v < vectors; v++) {
            float *at = feature(x, k) + v * VL;
            vf e = exp_negative(load(at) - max[v]);
            store(at, e);
            sum[v] += e;
        }
    for (int v = 0; v < vectors; v++)
        sum[v] = 1.0f / sum[v];
    for (size_t k = 0; k < features; k++)
        for (int v = 0; v < vectors; v++) {
            float *at = feature(x, k) + v * VL;
            store(at, load(at) * sum[v]);
        }
}

/* y = the gated linear unit of fc2 (if any) of block->a, added to y. */
INLINE void add_gated(const struct dense *fc2, const struct dense *glu, const struct block *block,
                      float *y, vf total[LANE_VECTORS], const int vectors)
{
    if (fc2->outputs > 0)
        dense_lanes(fc2, block->a, block->b, vectors);
    add_glu_lanes(glu, fc2->outputs > 0 ? block->b : block->a, y, total, vectors);
}

/* block->weights: how much of each variable each row takes. */
INLINE void score(const struct selecting *selecting, const struct block *block, const int vectors)
{
    const struct folded_selection *net = selecting->net;
    vf total[LANE_VECTORS] = {0}; /* the norm below sums again, over the few variables */
    dense_lanes(&net->fc1, block->seen, block->a, vectors);
    if (selecting->context)
        add_context(selecting, block);
    elu_lanes(block->a, net->hidden);
    dense_lanes(&net->skip, block->seen, block->weights, vectors);
    if (net->skip_normed)
        normalize_lanes(block->weights, net->variables, net->skip_gamma, net->skip_beta,
                        net->epsilon, vectors);
    add_gated(&net->fc2, &net->glu, block, block->weights, total, vectors);
    normalize_lanes(block->weights, net->variables, net->gamma, net->beta, net->epsilon, vectors);
    softmax_lanes(block->weights, net->variables, vectors);
}

/* ---- the variables --------------------------------------------------------------------------- */

/* sum += weight * an encoded variable. */
INLINE void add_encoded(const float *y, const float *weight, size_t units, float *sum,
                        const int vectors)
{
    for (size_t u = 0; u < units; u++, y += LANE_ROWS, sum += LANE_ROWS)
        for (int v = 0; v < vectors; v++)
            store(sum + v * VL, load(sum + v * VL) + load(weight + v * VL) * load(y + v * VL));
}

INLINE void add_categorical(const struct selecting *selecting, const struct block *block, size_t i,
                            const int vectors)
{
    size_t units = selecting->net->units;
    const float *rows = selecting->call->in[md__selection_categorical((int)i) + 1].data;
    to_lanes(rows + block->first * units, units, block->rows, units, block->y);
    add_encoded(block->y, feature(block->weights, i), units, block->sum, vectors);
}

/* y = the skip of a real variable. */
INLINE void skip_of(const struct folded_real *real, const float *x, float epsilon, size_t units,
                    float *y, const int vectors)
{
    vf scaled[LANE_VECTORS], scale[LANE_VECTORS];
    for (int v = 0; v < vectors; v++) {
        vf shifted = load(x + v * VL) + real->shift;
        scale[v] = splat(1.0f);
        if (real->normed)
            scale[v] = vrsqrt(shifted * shifted * real->a + (real->d + epsilon));
        scaled[v] = shifted * scale[v];
    }
    for (size_t u = 0; u < units; u++, y += LANE_ROWS)
        for (int v = 0; v < vectors; v++)
            store(y + v * VL, scaled[v] * real->p[u] + (scale[v] * real->q[u] + real->r[u]));
}

/* sum += weight * LN(y), whose total over the features is given. */
INLINE void add_normalized(const struct folded_real *real, const float *y, const vf *total,
                           const float *weight, float epsilon, size_t units, float *sum,
                           const int vectors)
{
    vf mean[LANE_VECTORS], inverse[LANE_VECTORS], weights[LANE_VECTORS];
    for (int v = 0; v < vectors; v++)
        mean[v] = total[v] / (float)units;
    inverse_deviation(y, units, mean, epsilon, inverse, vectors);
    for (int v = 0; v < vectors; v++) {
        weights[v] = load(weight + v * VL);
        inverse[v] *= weights[v];
    }
    for (size_t u = 0; u < units; u++, y += LANE_ROWS, sum += LANE_ROWS) {
        vf gamma = splat(real->gamma[u]), beta = splat(real->beta[u]);
        for (int v = 0; v < vectors; v++) {
            vf normal = (load(y + v * VL) - mean[v]) * inverse[v];
            store(sum + v * VL, load(sum + v * VL) + normal * gamma + weights[v] * beta);
        }
    }
}

/* Features h and h + 1 of the first layer. */
INLINE void first_features(const struct folded_real *real, const float *x, size_t h, float *a,
                           const int vectors)
{
    vf t[2 * LANE_VECTORS];
    const int count = 2 * vectors;
    EACH(count)
    t[i] = load(x + i % vectors * VL) * real->slope[h + (size_t)(i / vectors)] +
           real->offset[h + (size_t)(i / vectors)];
    elu_each(t, count);
    EACH(count) store(feature(a, h + (size_t)(i / vectors)) + i % vectors * VL, t[i]);
}

/* sum += weight * the encoded real variable i. */
INLINE void add_real(const struct folded_selection *net, const struct block *block, size_t i,
                     const float *weight, float *sum, const int vectors)
{
    const struct folded_real *real = &net->real[i];
    const float *x = feature(block->seen, net->seen - net->reals + i);
    vf total[LANE_VECTORS] = {0};
    for (size_t h = 0; h < real->hidden; h += 2) /* padded: tiled(hidden) is even */
        first_features(real, x, h, block->a, vectors);
    skip_of(real, x, net->epsilon, net->units, block->y, vectors);
    add_gated(&real->fc2, &real->glu, block, block->y, total, vectors);
    add_normalized(real, block->y, total, weight, net->epsilon, net->units, sum, vectors);
}

/* ---- sharing --------------------------------------------------------------------------------- */

static size_t encoded_floats(const struct folded_selection *net, size_t steps)
{
    return (steps + LANE_ROWS - 1) / LANE_ROWS * LANE_ROWS * net->units;
}

/* Where shared real i is encoded; as many shared ones as have smaller numbers lie before it. */
static float *encoded_at(const struct selecting *selecting, size_t i)
{
    const struct sharing *sharing = &selecting->sharing;
    uint64_t before = sharing->reals & (((uint64_t)1 << i) - 1);
    return sharing->encoded +
           (size_t)__builtin_popcountll(before) * encoded_floats(selecting->net, sharing->steps);
}

/* Clears the bits of reals that differ from the first sequence in sequences [begin + 1, end + 1).
 */
static void compare_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct selecting *selecting = context;
    const struct sharing *sharing = &selecting->sharing;
    size_t length = sharing->steps * selecting->columns;
    const uint32_t *first = selecting->call->in[0].data, *x = first + (begin + 1) * length;
    uint64_t same = sharing->reals;
    for (; begin < end && same; begin++, x += length)
        for (size_t step = 0; step < sharing->steps; step++)
            for (uint64_t left = same; left; left &= left - 1) {
                size_t i = (size_t)__builtin_ctzll(left);
                size_t at = step * selecting->columns + selecting->net->real[i].column;
                if (x[at] != first[at])
                    same &= ~((uint64_t)1 << i);
            }
    atomic_fetch_and(&selecting->sharing.reals, same);
}

/* Blocks [begin, end) of the shared reals, one real after another. */
static void encode_some(void *context, size_t begin, size_t end, int thread)
{
    const struct selecting *selecting = context;
    const struct folded_selection *net = selecting->net;
    const struct sharing *sharing = &selecting->sharing;
    struct block block = block_at(net, selecting->scratch + (size_t)thread * block_floats(net));
    for (size_t r = 0; r < LANE_ROWS; r++)
        block.weights[r] = 1;
    for (; begin < end; begin++) {
        uint64_t left = sharing->reals;
        for (size_t skip = begin / sharing->blocks; skip > 0; skip--)
            left &= left - 1;
        size_t i = (size_t)__builtin_ctzll(left), at = begin % sharing->blocks * LANE_ROWS;
        size_t rows = sharing->steps - at < LANE_ROWS ? sharing->steps - at : LANE_ROWS;
        const float *x = (const float *)selecting->call->in[0].data + at * selecting->columns;
        float *to = encoded_at(selecting, i) + at * net->units;
        to_lanes(x + net->real[i].column, selecting->columns, rows, 1,
                 feature(block.seen, net->seen - net->reals + i));
        memset(to, 0, net->units * LANE_ROWS * sizeof *to);
        add_real(net, &block, i, block.weights, to, LANE_VECTORS);
    }
}

/* Looks for what all sequences share, and encodes it once. */
static void share(struct selecting *selecting, float *encoded)
{
    const struct md_shape *shape = &selecting->call->in[0].shape;
    struct sharing *sharing = &selecting->sharing;
    size_t reals = selecting->net->reals < SHARED_MAX ? selecting->net->reals : SHARED_MAX;
    size_t steps = (size_t)shape->dim[shape->rank - 2];
    sharing->sequences = md__span(shape, 0, shape->rank - 2);
    sharing->steps = steps;
    sharing->encoded = encoded;
    sharing->blocks = (steps + LANE_ROWS - 1) / LANE_ROWS;
    sharing->reals = reals == 64 ? UINT64_MAX : ((uint64_t)1 << reals) - 1;
    md__parallel(selecting->call->pool, sharing->sequences - 1, md__grain(steps * reals),
                 compare_some, selecting);
    size_t shared = (size_t)__builtin_popcountll(sharing->reals);
    md__parallel(selecting->call->pool, shared * sharing->blocks, 1, encode_some, selecting);
}

/* ---- blocks of rows -------------------------------------------------------------------------- */

INLINE void select_block(const struct selecting *selecting, const struct block *block,
                         const int vectors)
{
    const struct folded_selection *net = selecting->net;
    size_t in_sequence = block->first % selecting->sharing.steps;
    gather_seen(selecting, block);
    score(selecting, block, vectors);
    memset(block->sum, 0, net->units * LANE_ROWS * sizeof *block->sum);
    for (size_t i = 0; i < net->categoricals; i++)
        add_categorical(selecting, block, i, vectors);
    for (size_t i = 0; i < net->reals; i++) {
        const float *weight = feature(block->weights, net->categoricals + i);
        if (i < SHARED_MAX && selecting->sharing.reals >> i & 1)
            add_encoded(encoded_at(selecting, i) + in_sequence * net->units, weight, net->units,
                        block->sum, vectors);
        else
            add_real(net, block, i, weight, block->sum, vectors);
    }
    from_lanes(block->sum, block->rows, net->units,
               (float *)selecting->call->out[0].data + block->first * net->units);
}

/* Blocks [begin, end), those of one sequence after those of another. */
static void select_some(void *context, size_t begin, size_t end, int thread)
{
    const struct selecting *selecting = context;
    const struct sharing *sharing = &selecting->sharing;
    struct block block = block_at(
        selecting->net, selecting->scratch + (size_t)thread * block_floats(selecting->net));
    for (; begin < end; begin++) {
        size_t step = begin % sharing->blocks * LANE_ROWS, left = sharing->steps - step;
        block.first = begin / sharing->blocks * sharing->steps + step;
        block.rows = left < LANE_ROWS ? left : LANE_ROWS;
        if (block.rows > 2 * VL)
            select_block(selecting, &block, 3);
        else if (block.rows > VL)
            select_block(selecting, &block, 2);
        else
            select_block(selecting, &block, 1);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* Sequences short enough to leave many lanes empty are better taken as plain rows. */
static bool shares(const struct md_node *node, const struct md_shape *x)
{
    return md_node_int(node, "share", 0) != 0 && x->rank >= 3 &&
           x->dim[x->rank - 2] >= 2 * LANE_ROWS && md__span(x, 0, x->rank - 2) > 1;
}

static enum md_status selection_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct folded_selection *net = call->prepared;
    if (net == NULL)
        return md_fail(err, MD_ERR_INTERNAL, "weights are not packed");
    size_t rows = md__span(&call->in[0].shape, 0, call->in[0].shape.rank - 1);
    struct selecting selecting = {
        .net = net, .call = call, .columns = last(&call->in[0]), .scratch = call->scratch};
    if (rows == 0)
        return MD_OK;
    if (net->context.vectors > 0) {
        enum md_status status = multiply_context(call, &net->context, &selecting.map,
                                                 &selecting.scratch, &selecting.context, err);
        if (status != MD_OK)
            return status;
    }
    struct sharing *sharing = &selecting.sharing;
    if (shares(call->node, &call->in[0].shape)) {
        float *encoded = selecting.scratch;
        selecting.scratch +=
            encoded_floats(net, (size_t)call->in[0].shape.dim[call->in[0].shape.rank - 2]) *
            (net->reals < SHARED_MAX ? net->reals : SHARED_MAX);
        share(&selecting, encoded);
    }
    if (sharing->reals == 0) {
        sharing->sequences = 1;
        sharing->steps = rows;
        sharing->blocks = (rows + LANE_ROWS - 1) / LANE_ROWS;
    }
    md__parallel(call->pool, sharing->sequences * sharing->blocks, 1, select_some, &selecting);
    return MD_OK;
}

/* Computed rather than weights: x, the context, the categoricals. */
static bool is_computed(const struct md_selection *selection, int i)
{
    return i == 0 || i == 9 || (i >= MD_SELECTION_SCORES && i < md__selection_real(selection, 0));
}

static bool selection_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    struct md_selection selection;
    struct context_map map;
    if (!md__all_f32(node, in, in_count) || !md__selection_of(node, &selection) ||
        selection.categoricals > SELECTION_CATEGORICALS_MAX)
        return false;
    for (int i = 0; i < in_count; i++)
        if (md__has(in, in_count, i) && !is_computed(&selection, i) && !in[i].data)
            return false;
    return !md__has(in, in_count, 9) || map_context(&in[0].shape, &in[9].shape, &map);
}

static size_t selection_scratch(const struct md_node *node, const struct md_tensor *in,
                                int in_count, int threads)
{
    struct md_selection selection;
    struct folded_selection net = {0};
    size_t context = 0;
    if (!md__selection_of(node, &selection))
        return 0;
    net.units = (size_t)in[md__selection_real(&selection, 0) + MD_REAL_NORM].shape.dim[0];
    net.variables = (size_t)(selection.reals + selection.categoricals);
    net.hidden = net.hidden_max = (size_t)in[2].shape.dim[0];
    net.seen = net.reals = (size_t)selection.reals;
    for (int i = 0; i < selection.categoricals; i++)
        net.seen += last(&in[md__selection_categorical(i)]);
    for (int i = 0; i < selection.reals; i++) {
        int at = md__selection_real(&selection, i) + MD_REAL_FC1 + 1;
        size_t hidden = (size_t)in[at].shape.dim[0];
        net.hidden_max = hidden > net.hidden_max ? hidden : net.hidden_max;
    }
    if (md__has(in, in_count, 9))
        context = md__span(&in[9].shape, 0, in[9].shape.rank - 1) * padded(net.hidden);
    size_t encoded = 0;
    if (shares(node, &in[0].shape))
        encoded = encoded_floats(&net, (size_t)in[0].shape.dim[in[0].shape.rank - 2]) *
                  (net.reals < SHARED_MAX ? net.reals : SHARED_MAX);
    return (context + encoded + block_floats(&net) * (size_t)threads) * sizeof(float);
}

const struct md_kernel md__selection = {.supports = selection_supports,
                                        .prepare = md__fold_selection,
                                        .prepared_free = free,
                                        .scratch_bytes = selection_scratch,
                                        .run = selection_run};
