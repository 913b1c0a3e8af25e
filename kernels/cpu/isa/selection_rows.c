/*
 * VariableSelection over windows that move on by a step, where nothing in a row tells its place in
 * the window (attribute `rolling` 2): then the whole row of the result depends on the row's numbers
 * and the sequence's context alone, and is kept. A run compares both with those of the last, bit by
 * bit, selects among the variables of rows that differ, 48 at a time whatever sequences they are
 * from, and copies all others.
 *
 * A window's memory: a struct header, the context [C], the numbers that a row reads
 * [steps][numbers], the results [steps][units], each from a multiple of 64 bytes on. Step s lies at
 * s modulo steps.
 */
#include <string.h>

#include "kernels/cpu/isa/selection_whole.h"

#define PIECES_MAX (SHARED_MAX + 2 * SELECTION_CATEGORICALS_MAX)

struct header {
    uint64_t valid;
    char pad[64 - sizeof(uint64_t)];
};

/* Numbers of a row that lie together in memory. */
struct piece {
    const char *from;
    size_t apart, bytes; /* from row to row; of one */
};

struct keeping {
    struct selecting *selecting;
    struct md_kept_windows *kept;
    struct piece pieces[PIECES_MAX], context;
    int piece_count;
    size_t row_bytes; /* of all pieces */
    uint32_t *list;   /* rows to be selected anew */
    _Atomic size_t count;
};

/* ---- where things lie ------------------------------------------------------------------------ */

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static struct header *header_of(const struct keeping *keeping, size_t sequence)
{
    return keeping->kept->windows[sequence].memory;
}

static char *context_of(const struct keeping *keeping, size_t sequence)
{
    return (char *)(header_of(keeping, sequence) + 1);
}

static char *numbers_of(const struct keeping *keeping, size_t sequence)
{
    return context_of(keeping, sequence) + aligned(keeping->context.bytes);
}

static float *results_of(const struct keeping *keeping, size_t sequence)
{
    size_t steps = keeping->selecting->sharing.steps;
    return (float *)(void *)(numbers_of(keeping, sequence) + aligned(steps * keeping->row_bytes));
}

static size_t place_of(const struct keeping *keeping, size_t sequence, size_t t)
{
    return md__roll_place(&keeping->kept->windows[sequence], keeping->selecting->sharing.steps, t);
}

/* ---- what changed ---------------------------------------------------------------------------- */

static void add_piece(struct keeping *keeping, const void *from, size_t apart, size_t bytes)
{
    struct piece *before =
        keeping->piece_count > 0 ? &keeping->pieces[keeping->piece_count - 1] : NULL;
    keeping->row_bytes += bytes;
    if (before && before->apart == apart && before->from + before->bytes == (const char *)from)
        before->bytes += bytes;
    else
        keeping->pieces[keeping->piece_count++] = (struct piece){from, apart, bytes};
}

static void find_pieces(struct keeping *keeping)
{
    const struct selecting *selecting = keeping->selecting;
    const struct folded_selection *net = selecting->net;
    const struct md_tensor *in = selecting->call->in;
    for (size_t i = 0; i < net->reals; i++)
        add_piece(keeping, (const float *)in[0].data + net->real[i].column,
                  selecting->columns * sizeof(float), sizeof(float));
    for (size_t k = 0; k < net->categoricals; k++)
        for (int part = 0; part < 2; part++) { /* embedded, encoded */
            const struct md_tensor *rows = &in[md__selection_categorical((int)k) + part];
            add_piece(keeping, rows->data, last(rows) * sizeof(float), last(rows) * sizeof(float));
        }
    if (selecting->context) {
        size_t bytes = last(&in[9]) * sizeof(float);
        keeping->context = (struct piece){in[9].data, in[9].shape.dim[0] > 1 ? bytes : 0, bytes};
    }
}

/* Takes the numbers of row `row` over; true when they are others. */
static bool take_piece(const struct piece *piece, size_t row, char *numbers)
{
    const char *from = piece->from + row * piece->apart;
    if (memcmp(from, numbers, piece->bytes) == 0)
        return false;
    memcpy(numbers, from, piece->bytes);
    return true;
}

static bool take_row(const struct keeping *keeping, size_t row, char *numbers)
{
    bool changed = false;
    for (int p = 0; p < keeping->piece_count; p++) {
        changed |= take_piece(&keeping->pieces[p], row, numbers);
        numbers += keeping->pieces[p].bytes;
    }
    return changed;
}

static void compare_windows(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct keeping *keeping = context;
    size_t steps = keeping->selecting->sharing.steps;
    for (size_t sequence = begin; sequence < end; sequence++) {
        struct header *header = header_of(keeping, sequence);
        char *numbers = numbers_of(keeping, sequence);
        bool all = !header->valid;
        if (keeping->context.bytes)
            all |= take_piece(&keeping->context, sequence, context_of(keeping, sequence));
        header->valid = 1;
        for (size_t t = 0; t < steps; t++) {
            size_t row = sequence * steps + t, at = place_of(keeping, sequence, t);
            if (take_row(keeping, row, numbers + at * keeping->row_bytes) || all)
                keeping->list[keeping->count++] = (uint32_t)row;
        }
    }
}

/* ---- the rows that did, and all together ----------------------------------------------------- */

/* Blocks [begin, end) of the list. */
static void select_changed(void *context, size_t begin, size_t end, int thread)
{
    const struct keeping *keeping = context;
    const struct selecting *selecting = keeping->selecting;
    size_t steps = selecting->sharing.steps, units = selecting->net->units;
    struct block block = block_at(
        selecting->net, selecting->scratch + (size_t)thread * block_floats(selecting->net));
    lanes_begin();
    for (; begin < end; begin++) {
        size_t left = keeping->count - begin * LANE_ROWS;
        block.list = keeping->list + begin * LANE_ROWS;
        block.rows = left < LANE_ROWS ? left : LANE_ROWS;
        sum_block(selecting, &block);
        for (size_t r = 0; r < block.rows; r++) {
            size_t sequence = block.list[r] / steps;
            size_t at = place_of(keeping, sequence, block.list[r] % steps);
            put_row(&block, r, units, results_of(keeping, sequence) + at * units);
        }
    }
    lanes_end();
}

static void copy_results(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct keeping *keeping = context;
    size_t steps = keeping->selecting->sharing.steps, units = keeping->selecting->net->units;
    float *out = keeping->selecting->call->out[0].data;
    for (; begin < end; begin++) {
        const float *results = results_of(keeping, begin);
        float *to = out + begin * steps * units;
        size_t first = place_of(keeping, begin, 0), before = (steps - first) * units;
        memcpy(to, results + first * units, before * sizeof *to);
        memcpy(to + before, results, first * units * sizeof *to);
    }
}

void md__keep_rows(struct selecting *selecting, void *scratch)
{
    const struct sharing *sharing = &selecting->sharing;
    struct md_pool *pool = selecting->call->pool;
    struct keeping keeping = {
        .selecting = selecting, .kept = selecting->call->kept, .list = scratch};
    find_pieces(&keeping);
    md__parallel(pool, sharing->sequences, md__grain(sharing->steps * 16), compare_windows,
                 &keeping);
    md__parallel(pool, (keeping.count + LANE_ROWS - 1) / LANE_ROWS, 1, select_changed, &keeping);
    md__parallel(pool, sharing->sequences, 1, copy_results, &keeping);
    keeping.kept->computed += (int64_t)keeping.count;
    keeping.kept->rows += (int64_t)(sharing->sequences * sharing->steps - keeping.count);
}

/* One row of context a sequence, or one for all. */
static bool context_fits(const struct md_shape *x, const struct md_shape *context)
{
    return context->rank == 3 && context->dim[1] == 1 &&
           (context->dim[0] == 1 || context->dim[0] == x->dim[0]);
}

size_t md__keep_bytes(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    struct md_selection selection;
    bool context = md__has(in, in_count, 9);
    if (md_node_int(node, "rolling", 0) != 2 || in[0].shape.rank != 3 ||
        !md__selection_of(node, &selection) || selection.reals > SHARED_MAX ||
        selection.categoricals > SELECTION_CATEGORICALS_MAX ||
        (context && !context_fits(&in[0].shape, &in[9].shape)))
        return 0;
    size_t steps = (size_t)in[0].shape.dim[1], row = (size_t)selection.reals;
    size_t units = (size_t)in[md__selection_real(&selection, 0) + MD_REAL_NORM].shape.dim[0];
    for (int k = 0; k < selection.categoricals; k++)
        row += last(&in[md__selection_categorical(k)]) + units;
    return sizeof(struct header) + aligned(context ? last(&in[9]) * sizeof(float) : 0) +
           aligned(steps * row * sizeof(float)) + steps * units * sizeof(float);
}
