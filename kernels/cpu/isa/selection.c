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
#include "kernels/cpu/isa/selection_whole.h"

#include <stdlib.h>

#include "kernels/cpu/isa/kernels.h"

/* ---- sharing --------------------------------------------------------------------------------- */

/* Sequences short enough to leave many lanes empty are better taken as plain rows. */
static bool shares(const struct md_node *node, const struct md_shape *x)
{
    return md_node_int(node, "share", 0) != 0 && x->rank >= 3 &&
           x->dim[x->rank - 2] >= 2 * LANE_ROWS && md__span(x, 0, x->rank - 2) > 1;
}

/* Bits that differ between two sequences in VL columns, over all steps. */
static vu difference(const float *x, const float *first, size_t columns, size_t steps)
{
    vu bits = {0};
    for (; steps > 0; steps--, x += columns, first += columns)
        bits |= (vu)load(x) ^ (vu)load(first);
    return bits;
}

/* The reals among `reals` that are the same in a sequence as in the first one. */
static uint64_t same_reals(const struct selecting *selecting, const float *x, const float *first,
                           uint64_t reals)
{
    const struct folded_real *real = selecting->net->real;
    size_t columns = selecting->columns;
    uint64_t same = 0;
    while (reals) {
        /* Columns from the first real that is left on, or the row's last ones. */
        size_t from = real[__builtin_ctzll(reals)].column;
        from = from + VL <= columns ? from : columns - VL;
        vu bits = difference(x + from, first + from, columns, selecting->sharing.steps);
        for (uint64_t left = reals; left; left &= left - 1) {
            size_t i = (size_t)__builtin_ctzll(left), lane = real[i].column - from;
            if (lane >= VL)
                continue;
            reals &= ~((uint64_t)1 << i);
            same |= (uint64_t)(bits[lane] == 0) << i;
        }
    }
    return same;
}

/* Likewise, where a row is shorter than a vector. */
static uint64_t same_narrow(const struct selecting *selecting, const uint32_t *x,
                            const uint32_t *first, uint64_t reals)
{
    uint64_t same = 0;
    for (; reals; reals &= reals - 1) {
        size_t i = (size_t)__builtin_ctzll(reals), at = selecting->net->real[i].column;
        uint32_t bits = 0;
        for (size_t t = 0; t < selecting->sharing.steps; t++, at += selecting->columns)
            bits |= x[at] ^ first[at];
        same |= (uint64_t)(bits == 0) << i;
    }
    return same;
}

/* Clears the bits of reals that differ from the first sequence in sequences [begin + 1, end + 1).
 */
static void compare_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct selecting *selecting = context;
    const struct sharing *sharing = &selecting->sharing;
    size_t columns = selecting->columns, length = sharing->steps * columns;
    const void *first = selecting->call->in[0].data;
    const float *x = (const float *)first + (begin + 1) * length;
    uint64_t same = sharing->reals;
    for (; begin < end && same; begin++, x += length)
        same = columns < VL ? same_narrow(selecting, (const void *)x, first, same)
                            : same_reals(selecting, x, first, same);
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
    lanes_begin();
    for (; begin < end; begin++) {
        uint64_t left = sharing->reals;
        for (size_t skip = begin / sharing->blocks; skip > 0; skip--)
            left &= left - 1;
        size_t i = (size_t)__builtin_ctzll(left), at = begin % sharing->blocks * LANE_ROWS;
        block.first = at;
        block.rows = sharing->steps - at < LANE_ROWS ? sharing->steps - at : LANE_ROWS;
        float *to = encoded_at(selecting, i) + at * net->units;
        to_lanes((const float *)selecting->call->in[0].data + net->real[i].column,
                 selecting->columns, &block, 1, feature(block.seen, net->seen - net->reals + i));
        memset(to, 0, net->units * LANE_ROWS * sizeof *to);
        add_real(net, &block, i, block.weights, to, LANE_VECTORS);
    }
    lanes_end();
}

void md__find_shared(struct selecting *selecting, bool look)
{
    const struct md_shape *shape = &selecting->call->in[0].shape;
    struct sharing *sharing = &selecting->sharing;
    size_t reals = selecting->net->reals < SHARED_MAX ? selecting->net->reals : SHARED_MAX;
    sharing->sequences = md__span(shape, 0, shape->rank - 2);
    sharing->steps = (size_t)shape->dim[shape->rank - 2];
    sharing->blocks = (sharing->steps + LANE_ROWS - 1) / LANE_ROWS;
    sharing->reals = 0;
    if (!look || !shares(selecting->call->node, shape))
        return;
    sharing->reals = reals == 64 ? UINT64_MAX : ((uint64_t)1 << reals) - 1;
    md__parallel(selecting->call->pool, sharing->sequences - 1, md__grain(sharing->steps * reals),
                 compare_some, selecting);
}

/* Encodes once what all sequences share. */
static void share(struct selecting *selecting)
{
    struct sharing *sharing = &selecting->sharing;
    size_t shared = (size_t)__builtin_popcountll(sharing->reals);
    md__parallel(selecting->call->pool, shared * sharing->blocks, 1, encode_some, selecting);
}

/* ---- blocks of rows -------------------------------------------------------------------------- */

/* Blocks [begin, end), those of one sequence after those of another. */
static void select_some(void *context, size_t begin, size_t end, int thread)
{
    const struct selecting *selecting = context;
    const struct sharing *sharing = &selecting->sharing;
    struct block block = block_at(
        selecting->net, selecting->scratch + (size_t)thread * block_floats(selecting->net));
    lanes_begin();
    for (; begin < end; begin++) {
        size_t step = begin % sharing->blocks * LANE_ROWS, left = sharing->steps - step;
        block.first = begin / sharing->blocks * sharing->steps + step;
        block.rows = left < LANE_ROWS ? left : LANE_ROWS;
        sum_block(selecting, &block);
        float *out = (float *)selecting->call->out[0].data + block.first * selecting->net->units;
        for (size_t r = 0; r < block.rows; r++)
            put_row(&block, r, selecting->net->units, out + r * selecting->net->units);
    }
    lanes_end();
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* Encodings of all reals that could be shared. */
static size_t shared_floats(const struct folded_selection *net, const struct md_shape *x)
{
    return encoded_floats(net, (size_t)x->dim[x->rank - 2]) *
           (net->reals < SHARED_MAX ? net->reals : SHARED_MAX);
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
        sharing->encoded = selecting.scratch;
        selecting.scratch += shared_floats(net, &call->in[0].shape);
    }
    bool rows_kept = call->kept && md__keep_bytes(call->node, call->in, call->in_count);
    if (call->kept || sharing->encoded)
        md__find_shared(&selecting, !rows_kept);
    if (call->kept) {
        float *behind = selecting.scratch + block_floats(net) * (size_t)md_pool_threads(call->pool);
        if (rows_kept)
            md__keep_rows(&selecting, behind);
        else
            md__roll_selection(&selecting, behind);
        return MD_OK;
    }
    if (sharing->reals != 0) {
        share(&selecting);
    } else {
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

static size_t kept_bytes(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    size_t rows = md__keep_bytes(node, in, in_count);
    return rows ? rows : md__roll_bytes(node, in, in_count);
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
    size_t shared = shares(node, &in[0].shape) ? shared_floats(&net, &in[0].shape) : 0;
    size_t roll = kept_bytes(node, in, in_count) ? md__roll_scratch(&in[0].shape) : 0;
    return (context + shared + block_floats(&net) * (size_t)threads) * sizeof(float) + roll;
}

#if defined(MD_ISA_amx)

extern const struct md_kernel md__selection_avx512;

/*
 * Tiles pay where the gated linear units of the variables fill them: narrower ones take as long on
 * tiles as in registers, whose kernel then serves.
 */
static bool fills_tiles(const struct md_node *node, const struct md_tensor *in)
{
    struct md_selection selection;
    size_t inputs = 0;
    if (!md__selection_of(node, &selection))
        return false;
    for (int i = 0; i < selection.reals; i++)
        inputs += last(&in[md__selection_real(&selection, i) + MD_REAL_GLU]);
    return inputs >= TILE_INPUTS * (size_t)selection.reals;
}

static enum md_status prepare(const struct md_node *node, const struct md_tensor *in, int in_count,
                              void **prepared, size_t *bytes, struct md_error *err)
{
    return (fills_tiles(node, in) ? md__fold_selection : md__selection_avx512.prepare)(
        node, in, in_count, prepared, bytes, err);
}

static size_t scratch_of_either(const struct md_node *node, const struct md_tensor *in,
                                int in_count, int threads)
{
    return (fills_tiles(node, in) ? selection_scratch : md__selection_avx512.scratch_bytes)(
        node, in, in_count, threads);
}

static size_t kept_by_either(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return (fills_tiles(node, in) ? kept_bytes : md__selection_avx512.kept_bytes)(node, in,
                                                                                  in_count);
}

static enum md_status run_either(const struct md_kernel_call *call, struct md_error *err)
{
    return (fills_tiles(call->node, call->in) ? selection_run : md__selection_avx512.run)(call,
                                                                                          err);
}

const struct md_kernel md__selection = {.supports = selection_supports,
                                        .prepare = prepare,
                                        .prepared_free = free,
                                        .scratch_bytes = scratch_of_either,
                                        .kept_bytes = kept_by_either,
                                        .run = run_either};

#else

const struct md_kernel md__selection = {.supports = selection_supports,
                                        .prepare = md__fold_selection,
                                        .prepared_free = free,
                                        .scratch_bytes = selection_scratch,
                                        .kept_bytes = kept_bytes,
                                        .run = selection_run};

#endif
