/*
 * VariableSelection over windows that move on by a step (kept.h): the encoding of a real variable
 * depends on one number of its row, so the last run's serves while that number is the same. A run
 *   1. looks for variables that all sequences share, as every run does: their encodings are made
 *      anew for one sequence, which costs less than reading them for each;
 *   2. compares the numbers of all others with those kept, bit by bit;
 *   3. encodes what changed, LANE_ROWS rows of one variable at a time, whatever sequences they are
 *      from;
 *   4. scores all rows (scores see the whole row, and with it the place in the window) and adds up.
 *      While a block is scored, its kept encodings are asked for: adding up waits for memory.
 * Kept encodings lie row by row, not in lanes: a row that moves on keeps its place, and step 4
 * streams them once, a cache line after the other.
 *
 * A window's memory: a struct held, the numbers [steps][reals], then for each real its encodings
 * [steps][padded(units)], a bit apart so that the variables' lines do not fall into one set of the
 * caches. Step s lies at s modulo steps. Pages that nobody touches, those of shared variables,
 * cost nothing.
 */
#include "kernels/cpu/isa/selection_whole.h"

#include <string.h>

#define CHUNK_MIN  (10 * LANE_ROWS) /* changed rows that one task looks through */
#define TOGETHER   128              /* changed rows that a thread hands over at a time */
#define ROWS_AHEAD 8                /* whose encodings are fetched while a row is added up */

struct held {
    uint64_t valid; /* reals whose numbers and encodings are there */
    char pad[64 - sizeof(uint64_t)];
};

/* Reals that follow each other in x as they do here. */
struct span {
    size_t first, count, column;
};

struct rolling {
    struct selecting *selecting;
    struct md_kept_windows *kept;
    uint64_t own;          /* reals that are kept: not shared */
    struct span spans[64]; /* of those */
    int span_count;
    uint32_t *list;    /* rows where a real is to be encoded */
    uint64_t *changed; /* which ones, one a row of the list */
    _Atomic size_t count;
    size_t chunk;
};

/* ---- where things lie ------------------------------------------------------------------------ */

static size_t numbers_bytes(size_t steps, size_t reals)
{
    return (steps * reals * sizeof(float) + 63) / 64 * 64;
}

/* Floats from one real's encodings to the next one's. */
static size_t real_stride(size_t steps, size_t units)
{
    return steps * padded(units) + 3 * 16;
}

static struct held *held_of(const struct rolling *rolling, size_t sequence)
{
    return rolling->kept->windows[sequence].memory;
}

static uint32_t *numbers_of(const struct rolling *rolling, size_t sequence)
{
    return (uint32_t *)(void *)(held_of(rolling, sequence) + 1);
}

static float *encodings_of(const struct rolling *rolling, size_t sequence, size_t real)
{
    const struct folded_selection *net = rolling->selecting->net;
    size_t steps = rolling->selecting->sharing.steps;
    char *at = (char *)(held_of(rolling, sequence) + 1) + numbers_bytes(steps, net->reals);
    return (float *)(void *)at + real * real_stride(steps, net->units);
}

static size_t place_of(const struct rolling *rolling, size_t sequence, size_t t)
{
    return md__roll_place(&rolling->kept->windows[sequence], rolling->selecting->sharing.steps, t);
}

static float *shared_at(const struct rolling *rolling, size_t real)
{
    const struct sharing *sharing = &rolling->selecting->sharing;
    uint64_t before = sharing->reals & (((uint64_t)1 << real) - 1);
    return sharing->encoded + (size_t)__builtin_popcountll(before) *
                                  encoded_floats(rolling->selecting->net, sharing->steps);
}

/* ---- what changed ---------------------------------------------------------------------------- */

static void find_spans(struct rolling *rolling)
{
    const struct folded_selection *net = rolling->selecting->net;
    for (size_t i = 0; i < net->reals; i++) {
        struct span *next = rolling->spans + rolling->span_count;
        if (!(rolling->own >> i & 1))
            continue;
        if (rolling->span_count > 0 && next[-1].first + next[-1].count == i &&
            next[-1].column + next[-1].count == net->real[i].column) {
            next[-1].count++;
        } else {
            *next = (struct span){i, 1, net->real[i].column};
            rolling->span_count++;
        }
    }
}

/* Takes a row's numbers over; returns the reals whose number is another one. */
static uint64_t take_numbers(const struct rolling *rolling, const uint32_t *x, uint32_t *numbers)
{
    uint64_t changed = 0;
    for (int s = 0; s < rolling->span_count; s++) {
        const struct span *span = &rolling->spans[s];
        if (memcmp(x + span->column, numbers + span->first, span->count * sizeof *x) == 0)
            continue;
        for (size_t i = 0; i < span->count; i++)
            if (x[span->column + i] != numbers[span->first + i]) {
                numbers[span->first + i] = x[span->column + i];
                changed |= (uint64_t)1 << (span->first + i);
            }
    }
    return changed;
}

/* What a thread has found; threads that add rows to the list one by one wait for each other. */
struct found {
    size_t count;
    uint32_t rows[TOGETHER];
    uint64_t changed[TOGETHER];
};

static void hand_over(struct rolling *rolling, struct found *found)
{
    size_t at = atomic_fetch_add(&rolling->count, found->count);
    memcpy(rolling->list + at, found->rows, found->count * sizeof *found->rows);
    memcpy(rolling->changed + at, found->changed, found->count * sizeof *found->changed);
    found->count = 0;
}

/* Returns how many encodings the window lacks. */
static int64_t compare_window(struct rolling *rolling, size_t sequence, struct found *found)
{
    const struct selecting *selecting = rolling->selecting;
    size_t steps = selecting->sharing.steps, reals = selecting->net->reals;
    struct held *held = held_of(rolling, sequence);
    uint64_t missing = rolling->own & ~held->valid;
    const uint32_t *x = selecting->call->in[0].data;
    uint32_t *numbers = numbers_of(rolling, sequence);
    size_t at = place_of(rolling, sequence, 0), row = sequence * steps;
    int64_t lacking = 0;
    held->valid = rolling->own;
    for (size_t t = 0; t < steps; t++, row++, at = at + 1 < steps ? at + 1 : 0) {
        uint64_t changed =
            missing | take_numbers(rolling, x + row * selecting->columns, numbers + at * reals);
        if (!changed)
            continue;
        found->rows[found->count] = (uint32_t)row;
        found->changed[found->count++] = changed;
        lacking += __builtin_popcountll(changed);
        if (found->count == TOGETHER)
            hand_over(rolling, found);
    }
    return lacking;
}

static void compare_windows(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct rolling *rolling = context;
    struct found found;
    int64_t computed = 0;
    found.count = 0;
    for (; begin < end; begin++)
        computed += compare_window(rolling, begin, &found);
    hand_over(rolling, &found);
    rolling->kept->computed += computed;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Real i of the rows of x at `rows`, fewer than LANE_ROWS or as many, into block->sum. */
static void encode_rows(const struct selecting *selecting, const struct block *block, size_t i,
                        const uint32_t *rows, size_t count)
{
    const struct folded_selection *net = selecting->net;
    const float *x = (const float *)selecting->call->in[0].data + net->real[i].column;
    float *lane = feature(block->seen, net->seen - net->reals + i);
    for (size_t r = 0; r < LANE_ROWS; r++) {
        lane[r] = r < count ? x[rows[r] * selecting->columns] : 0;
        block->weights[r] = 1;
    }
    memset(block->sum, 0, net->units * LANE_ROWS * sizeof *block->sum);
    if (count > VL)
        add_real(net, block, i, block->weights, block->sum, LANE_VECTORS);
    else
        add_real(net, block, i, block->weights, block->sum, 1);
}

/* The i-th set bit. */
static size_t nth_real(uint64_t reals, size_t i)
{
    for (; i > 0; i--)
        reals &= reals - 1;
    return (size_t)__builtin_ctzll(reals);
}

static void keep_rows(const struct rolling *rolling, const struct block *block, size_t i,
                      const uint32_t *rows, size_t count)
{
    size_t steps = rolling->selecting->sharing.steps, units = rolling->selecting->net->units;
    encode_rows(rolling->selecting, block, i, rows, count);
    for (size_t r = 0; r < count; r++) {
        size_t sequence = rows[r] / steps, at = place_of(rolling, sequence, rows[r] % steps);
        put_row(block, r, units, encodings_of(rolling, sequence, i) + at * padded(units));
    }
}

static struct block own_block(const struct selecting *selecting, int thread)
{
    const struct folded_selection *net = selecting->net;
    return block_at(net, selecting->scratch + (size_t)thread * block_floats(net));
}

/* Rows from place *at of the list on where real i changed, LANE_ROWS or all before place `end`;
 * returns how many. */
static size_t changed_rows(const struct rolling *rolling, size_t i, size_t *at, size_t end,
                           uint32_t *rows)
{
    size_t count = 0;
    for (; *at < end && count < LANE_ROWS; (*at)++) {
        rows[count] = rolling->list[*at];
        count += rolling->changed[*at] >> i & 1;
    }
    return count;
}

/* Tasks [begin, end): chunks of the list for the first real, then for the next. */
static void encode_changed(void *context, size_t begin, size_t end, int thread)
{
    struct rolling *rolling = context;
    struct block block = own_block(rolling->selecting, thread);
    size_t chunk = rolling->chunk, chunks = (rolling->count + chunk - 1) / chunk;
    lanes_begin();
    for (; begin < end; begin++) {
        size_t i = nth_real(rolling->own, begin / chunks), at = begin % chunks * chunk;
        size_t last = at + chunk < rolling->count ? at + chunk : rolling->count, count;
        uint32_t rows[LANE_ROWS];
        while ((count = changed_rows(rolling, i, &at, last, rows)) > 0)
            keep_rows(rolling, &block, i, rows, count);
    }
    lanes_end();
}

/* Blocks of steps [begin, end) of the first shared real, then of the next. */
static void encode_shared(void *context, size_t begin, size_t end, int thread)
{
    struct rolling *rolling = context;
    const struct sharing *sharing = &rolling->selecting->sharing;
    struct block block = own_block(rolling->selecting, thread);
    size_t units = rolling->selecting->net->units;
    lanes_begin();
    for (; begin < end; begin++) {
        size_t i = nth_real(sharing->reals, begin / sharing->blocks);
        size_t at = begin % sharing->blocks * LANE_ROWS, count = 0;
        uint32_t rows[LANE_ROWS];
        for (; count < LANE_ROWS && at + count < sharing->steps; count++)
            rows[count] = (uint32_t)(at + count);
        encode_rows(rolling->selecting, &block, i, rows, count);
        for (size_t r = 0; r < count; r++)
            put_row(&block, r, units, shared_at(rolling, i) + (at + r) * padded(units));
    }
    lanes_end();
}

/* ---- adding up ------------------------------------------------------------------------------- */

/* Where the encodings of each variable begin for some rows, and how far apart rows are. */
struct sources {
    const float *from[SELECTION_CATEGORICALS_MAX + SHARED_MAX];
    size_t stride[SELECTION_CATEGORICALS_MAX + SHARED_MAX];
};

static void find_sources(const struct rolling *rolling, size_t sequence, size_t t,
                         struct sources *sources)
{
    const struct selecting *selecting = rolling->selecting;
    const struct folded_selection *net = selecting->net;
    size_t row = sequence * selecting->sharing.steps + t, apart = padded(net->units);
    size_t at = place_of(rolling, sequence, t) * apart, k = 0;
    for (; k < net->categoricals; k++) {
        const struct md_tensor *encoded =
            &selecting->call->in[md__selection_categorical((int)k) + 1];
        sources->from[k] = (const float *)encoded->data + row * net->units;
        sources->stride[k] = net->units;
    }
    for (size_t i = 0; i < net->reals; i++, k++) {
        bool own = rolling->own >> i & 1;
        sources->from[k] =
            own ? encodings_of(rolling, sequence, i) + at : shared_at(rolling, i) + t * apart;
        sources->stride[k] = apart;
    }
}

/* `wide` vectors of a row's sum; the last has `some` lanes. */
INLINE void weigh_vectors(const struct sources *sources, size_t variables, size_t row, size_t u,
                          const float *weight, float *out, const int wide, size_t some)
{
    vf sum[4] = {0};
    for (size_t k = 0; k < variables; k++, weight += LANE_ROWS) {
        const float *from = sources->from[k] + row * sources->stride[k] + u;
        vf w = splat(*weight);
        for (int v = 0; v < wide; v += 64 / VECTOR_BYTES)
            __builtin_prefetch(from + ROWS_AHEAD * sources->stride[k] + v * VL);
        for (int v = 0; v < wide; v++)
            sum[v] += w * (v + 1 < wide || some == VL ? load(from + v * VL)
                                                      : load_some(from + v * VL, some));
    }
    for (int v = 0; v < wide; v++)
        if (v + 1 < wide || some == VL)
            store(out + u + v * VL, sum[v]);
        else
            store_some(out + u + v * VL, sum[v], some);
}

/* Rows of `out` from those of the sources; weights lie in lanes. */
static void weigh_rows(const struct sources *sources, const struct folded_selection *net,
                       const float *weights, size_t rows, float *out)
{
    size_t units = net->units, whole = units / (4 * VL) * (4 * VL);
    for (size_t r = 0; r < rows; r++, out += units) {
        size_t u = 0;
        for (; u < whole; u += 4 * VL)
            weigh_vectors(sources, net->variables, r, u, weights + r, out, 4, VL);
        for (; u + 2 * VL <= units; u += 2 * VL)
            weigh_vectors(sources, net->variables, r, u, weights + r, out, 2, VL);
        for (; u + VL <= units; u += VL)
            weigh_vectors(sources, net->variables, r, u, weights + r, out, 1, VL);
        if (u < units)
            weigh_vectors(sources, net->variables, r, u, weights + r, out, 1, units - u);
    }
}

/* Scores a block while the memory that is weighed next is on its way. */
static void score_block(const struct selecting *selecting, const struct block *block,
                        struct ahead *ahead)
{
    gather_seen(selecting, block);
    if (LANE_VECTORS > 2 && block->rows > 2 * VL)
        score(selecting, block, ahead, LANE_VECTORS);
    else if (block->rows > VL)
        score(selecting, block, ahead, 2);
    else
        score(selecting, block, ahead, 1);
}

/* The kept encodings of `rows` rows from step t on, whose places follow each other; `from` has
 * room for all reals. */
static struct ahead kept_rows(const struct rolling *rolling, size_t sequence, size_t t, size_t rows,
                              const float **from)
{
    size_t apart = padded(rolling->selecting->net->units);
    struct ahead ahead = {.from = from, .floats = rows * apart};
    for (uint64_t left = rolling->own; left; left &= left - 1)
        from[ahead.count++] = encodings_of(rolling, sequence, (size_t)__builtin_ctzll(left)) +
                              place_of(rolling, sequence, t) * apart;
    return ahead;
}

static void add_up(void *context, size_t begin, size_t end, int thread)
{
    struct rolling *rolling = context;
    const struct selecting *selecting = rolling->selecting;
    const struct folded_selection *net = selecting->net;
    size_t steps = selecting->sharing.steps;
    struct block block = own_block(selecting, thread);
    struct sources sources;
    const float *from[SHARED_MAX];
    lanes_begin();
    for (; begin < end; begin++) {
        size_t sequence = begin / selecting->sharing.blocks;
        size_t t = begin % selecting->sharing.blocks * LANE_ROWS, left = steps - t;
        block.first = sequence * steps + t;
        block.rows = left < LANE_ROWS ? left : LANE_ROWS;
        /* The ring may begin again within the block. */
        size_t until = steps - place_of(rolling, sequence, t);
        size_t before = until < block.rows ? until : block.rows;
        struct ahead ahead = kept_rows(rolling, sequence, t, before, from);
        score_block(selecting, &block, &ahead);
        float *out = (float *)selecting->call->out[0].data + block.first * net->units;
        find_sources(rolling, sequence, t, &sources);
        weigh_rows(&sources, net, block.weights, before, out);
        if (before < block.rows) {
            find_sources(rolling, sequence, t + before, &sources);
            weigh_rows(&sources, net, block.weights + before, block.rows - before,
                       out + before * net->units);
        }
    }
    lanes_end();
}

/* ---- the whole ------------------------------------------------------------------------------- */

void md__roll_selection(struct selecting *selecting, void *scratch)
{
    const struct sharing *sharing = &selecting->sharing;
    size_t reals = selecting->net->reals, rows = sharing->sequences * sharing->steps;
    uint64_t all = reals == 64 ? UINT64_MAX : ((uint64_t)1 << reals) - 1;
    struct md_pool *pool = selecting->call->pool;
    struct rolling rolling = {.selecting = selecting,
                              .kept = selecting->call->kept,
                              .own = all & ~sharing->reals,
                              .changed = scratch,
                              .list = (uint32_t *)(void *)((uint64_t *)scratch + rows)};
    size_t own = (size_t)__builtin_popcountll(rolling.own), shared = reals - own;
    find_spans(&rolling);
    md__parallel(pool, sharing->sequences, md__grain(sharing->steps * own), compare_windows,
                 &rolling);
    rolling.kept->rows += (int64_t)(rows * own) - rolling.kept->computed;
    /* Long chunks: most reals change in few rows of them, which then are encoded side by side. */
    rolling.chunk = rolling.count / (4 * (size_t)md_pool_threads(pool)) + 1;
    if (rolling.chunk < CHUNK_MIN)
        rolling.chunk = CHUNK_MIN;
    md__parallel(pool, shared * sharing->blocks, 1, encode_shared, &rolling);
    md__parallel(pool, own * ((rolling.count + rolling.chunk - 1) / rolling.chunk), 1,
                 encode_changed, &rolling);
    md__parallel(pool, sharing->sequences * sharing->blocks, 1, add_up, &rolling);
}

size_t md__roll_bytes(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    struct md_selection selection;
    const struct md_shape *x = &in[0].shape;
    (void)in_count;
    if (md_node_int(node, "rolling", 0) == 0 || x->rank != 3 || x->dim[1] == 0 ||
        !md__selection_of(node, &selection) || selection.reals > SHARED_MAX ||
        selection.categoricals > SELECTION_CATEGORICALS_MAX)
        return 0;
    size_t steps = (size_t)x->dim[1], reals = (size_t)selection.reals;
    size_t units = (size_t)in[md__selection_real(&selection, 0) + MD_REAL_NORM].shape.dim[0];
    return sizeof(struct held) + numbers_bytes(steps, reals) +
           reals * real_stride(steps, units) * sizeof(float);
}

size_t md__roll_scratch(const struct md_shape *x)
{
    return md__span(x, 0, x->rank - 1) * (sizeof(uint64_t) + sizeof(uint32_t)) + 64;
}
