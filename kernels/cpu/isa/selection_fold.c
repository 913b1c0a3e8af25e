/* Folding the weights of VariableSelection: see selection.h. */
#include "kernels/cpu/isa/selection.h"

#include <stdlib.h>

#include "kernels/cpu/isa/network.h"
#if defined(MD_ISA_amx)
#include "kernels/cpu/isa/lanes_tiles.h"
#endif

struct fold {
    const struct md_tensor *in;
    int in_count;
    struct packing packing;
    struct folded_selection *out;
};

static const float *weights(const struct fold *fold, int i)
{
    return fold->in[i].data;
}

static size_t dim(const struct fold *fold, int i, int axis)
{
    return (size_t)fold->in[i].shape.dim[axis];
}

/* ---- dense layers ---------------------------------------------------------------------------- */

static bool take_dense(struct fold *fold, struct dense *dense, size_t inputs, size_t outputs,
                       bool gated)
{
    dense->inputs = inputs;
    dense->outputs = outputs;
    dense->bias = take(&fold->packing, dense_biases(outputs, gated));
    dense->weights = take(&fold->packing, dense_weights(inputs, outputs, gated));
    return dense->bias != NULL;
}

/* Weights [outputs, inputs] and bias of inputs at, at + 1, if any; a GLU has its gates after its
 * values. */
static void pack_dense(struct fold *fold, struct dense *dense, int at, bool gated)
{
    if (!md__has(fold->in, fold->in_count, at))
        return;
    size_t inputs = dim(fold, at, 1), outputs = dim(fold, at, 0) >> gated;
    if (!take_dense(fold, dense, inputs, outputs, gated))
        return;
    const float *weight = weights(fold, at), *bias = weights(fold, at + 1);
    for (size_t row = 0; row < outputs << gated; row++) {
        bool gate = row >= outputs;
        size_t o = gate ? row - outputs : row;
        double scale = gate ? GATE_SCALE : 1;
        put_dense_bias(dense, o, gated, gate, (float)(bias[row] * scale));
        for (size_t k = 0; k < inputs; k++)
            put_dense_weight(dense, k, o, gated, gate, (float)(weight[row * inputs + k] * scale));
    }
}

static float *copy_vector(struct fold *fold, int i)
{
    size_t count = dim(fold, i, 0);
    float *at = take(&fold->packing, count);
    if (at)
        memcpy(at, weights(fold, i), count * sizeof *at);
    return at;
}

/* ---- one real variable ----------------------------------------------------------------------- */

/* fc1 after the prescaler: slope and offset of each hidden unit, scaled for its ELU. */
static void fold_first_layer(struct fold *fold, struct folded_real *real, int at)
{
    size_t size = dim(fold, at + 1, 0), padded_units = tiled(real->hidden);
    real->slope = take(&fold->packing, padded_units);
    real->offset = take(&fold->packing, padded_units);
    if (real->slope == NULL)
        return;
    const float *scale = weights(fold, at), *bias = weights(fold, at + 1);
    const float *fc1 = weights(fold, at + MD_REAL_FC1);
    const float *fc1_bias = weights(fold, at + MD_REAL_FC1 + 1);
    for (size_t h = 0; h < real->hidden; h++) {
        double slope = 0, offset = fc1_bias[h];
        for (size_t s = 0; s < size; s++) {
            slope += (double)fc1[h * size + s] * scale[s];
            offset += (double)fc1[h * size + s] * bias[s];
        }
        real->slope[h] = (float)(slope * ELU_SCALE);
        real->offset[h] = (float)(offset * ELU_SCALE);
    }
}

/* The skip's features ra x + rb before its norm, into p and q. */
static void fold_skip_line(struct fold *fold, struct folded_real *real, int at, double *ra,
                           double *rb)
{
    size_t size = dim(fold, at + 1, 0), units = fold->out->units;
    const float *scale = weights(fold, at), *bias = weights(fold, at + 1);
    const struct md_tensor *gate =
        real->normed ? optional(fold->in, fold->in_count, at + MD_REAL_RESAMPLE + 2) : NULL;
    for (size_t u = 0; u < units; u++) {
        struct stretch s = stretch_of(u, size, units);
        double factor = gate_factor(gate, u);
        ra[u] = ((1 - s.share) * scale[s.low] + s.share * scale[s.high]) * factor;
        rb[u] = ((1 - s.share) * bias[s.low] + s.share * bias[s.high]) * factor;
    }
}

static double mean_product(const double *x, const double *y, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += x[i] * y[i];
    return sum / (double)count;
}

static void centre(double *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += x[i];
    for (size_t i = 0; i < count; i++)
        x[i] -= sum / (double)count;
}

static void fold_skip(struct fold *fold, struct folded_real *real, int at, double *ra, double *rb)
{
    size_t units = fold->out->units;
    real->p = take(&fold->packing, units);
    real->q = take(&fold->packing, units);
    real->r = take(&fold->packing, units);
    real->normed = md__has(fold->in, fold->in_count, at + MD_REAL_RESAMPLE);
    if (real->p == NULL)
        return;
    fold_skip_line(fold, real, at, ra, rb);
    if (real->normed) {
        centre(ra, units);
        centre(rb, units);
        double a = mean_product(ra, ra, units);
        double shift = a > 0 ? mean_product(ra, rb, units) / a : 0;
        for (size_t u = 0; u < units; u++)
            rb[u] -= shift * ra[u];
        real->a = (float)a;
        real->shift = (float)shift;
        real->d = (float)mean_product(rb, rb, units);
    }
    const float *gamma = real->normed ? weights(fold, at + MD_REAL_RESAMPLE) : NULL;
    const float *beta = real->normed ? weights(fold, at + MD_REAL_RESAMPLE + 1) : NULL;
    for (size_t u = 0; u < units; u++) {
        real->p[u] = (float)(ra[u] * (gamma ? gamma[u] : 1));
        real->q[u] = (float)(rb[u] * (gamma ? gamma[u] : 1));
        real->r[u] = beta ? beta[u] : 0;
    }
}

static void fold_real(struct fold *fold, struct folded_real *real, int at, double *room)
{
    real->hidden = dim(fold, at + MD_REAL_FC1 + 1, 0);
    fold_first_layer(fold, real, at);
    pack_dense(fold, &real->fc2, at + MD_REAL_FC2, false);
    pack_dense(fold, &real->glu, at + MD_REAL_GLU, true);
    fold_skip(fold, real, at, room, room + fold->out->units);
    real->gamma = copy_vector(fold, at + MD_REAL_NORM);
    real->beta = copy_vector(fold, at + MD_REAL_NORM + 1);
}

/* ---- the scores ------------------------------------------------------------------------------ */

/* row[seen] and *offset: what a row over the concatenated variables is over the numbers seen. */
static void fold_row(const struct fold *fold, const struct md_selection *selection,
                     const double *row, double *seen, double *offset)
{
    size_t at = 0, z = 0;
    for (int i = 0; i < selection->categoricals; i++)
        for (size_t e = 0; e < fold->out->embedded[i]; e++)
            seen[z++] = row[at++];
    for (int i = 0; i < selection->reals; i++, z++) {
        int in = md__selection_real(selection, i);
        const float *scale = weights(fold, in), *bias = weights(fold, in + 1);
        seen[z] = 0;
        for (size_t s = 0; s < dim(fold, in + 1, 0); s++, at++) {
            seen[z] += row[at] * scale[s];
            *offset += row[at] * bias[s];
        }
    }
}

static void set_row(struct dense *dense, size_t o, const double *seen, double offset, double scale)
{
    put_dense_bias(dense, o, false, false, (float)(offset * scale));
    for (size_t k = 0; k < dense->inputs; k++)
        put_dense_weight(dense, k, o, false, false, (float)(seen[k] * scale));
}

static void fold_scores(struct fold *fold, const struct md_selection *selection, double *room)
{
    struct folded_selection *out = fold->out;
    size_t total = dim(fold, 1, 1), hidden = out->hidden, variables = out->variables;
    double *row = room, *seen = room + total;
    if (take_dense(fold, &out->fc1, out->seen, hidden, false))
        for (size_t h = 0; h < hidden; h++) {
            double offset = weights(fold, 2)[h];
            for (size_t k = 0; k < total; k++)
                row[k] = weights(fold, 1)[h * total + k];
            fold_row(fold, selection, row, seen, &offset);
            set_row(&out->fc1, h, seen, offset, ELU_SCALE);
        }
    out->skip_normed = md__has(fold->in, fold->in_count, 11);
    const struct md_tensor *gate = out->skip_normed ? optional(fold->in, fold->in_count, 13) : NULL;
    if (take_dense(fold, &out->skip, out->seen, variables, false))
        for (size_t v = 0; v < variables; v++) {
            struct stretch s = stretch_of(v, total, variables);
            double offset = 0, factor = gate_factor(gate, v);
            memset(row, 0, total * sizeof *row);
            row[s.low] += (1 - s.share) * factor;
            row[s.high] += s.share * factor;
            fold_row(fold, selection, row, seen, &offset);
            set_row(&out->skip, v, seen, offset, 1);
        }
    pack_dense(fold, &out->fc2, 3, false);
    pack_dense(fold, &out->glu, 5, true);
    out->gamma = copy_vector(fold, 7);
    out->beta = copy_vector(fold, 8);
    if (out->skip_normed) {
        out->skip_gamma = copy_vector(fold, 11);
        out->skip_beta = copy_vector(fold, 12);
    }
}

static void pack_context(struct fold *fold)
{
    const struct md_tensor *weight = optional(fold->in, fold->in_count, 10);
    if (weight == NULL)
        return;
    size_t columns = (size_t)weight->shape.dim[0], inputs = (size_t)weight->shape.dim[1];
    float *memory = take(&fold->packing, packed_floats(inputs, columns, false));
    struct unpacked from = {
        .weights = weight->data, .k_stride = 1, .column_stride = inputs, .scale = (float)ELU_SCALE};
    if (memory)
        fold->out->context = md__pack(&from, inputs, columns, false, memory);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void describe(struct fold *fold, const struct md_node *node,
                     const struct md_selection *selection)
{
    struct folded_selection *out = fold->out;
    out->categoricals = (size_t)selection->categoricals;
    out->reals = (size_t)selection->reals;
    out->variables = out->categoricals + out->reals;
    out->units = dim(fold, md__selection_real(selection, 0) + MD_REAL_NORM, 0);
    out->hidden = out->hidden_max = dim(fold, 2, 0);
    out->seen = out->reals;
    out->epsilon = (float)md_node_float(node, "epsilon", 1e-5);
    for (int i = 0; i < selection->categoricals; i++) {
        out->embedded[i] = last(&fold->in[md__selection_categorical(i)]);
        out->seen += out->embedded[i];
    }
    for (int i = 0; i < selection->reals; i++) {
        size_t hidden = dim(fold, md__selection_real(selection, i) + MD_REAL_FC1 + 1, 0);
        out->hidden_max = hidden > out->hidden_max ? hidden : out->hidden_max;
    }
}

/* Once to count (packing.memory NULL), once to fill; `reals` then is where they are described. */
static void fold_all(struct fold *fold, const struct md_node *node,
                     const struct md_selection *selection, struct folded_real *reals, double *room)
{
    describe(fold, node, selection);
    for (int i = 0; i < selection->reals; i++) {
        reals[i].column = (size_t)selection->columns[i];
        fold_real(fold, &reals[i], md__selection_real(selection, i), room);
    }
    fold_scores(fold, selection, room);
    pack_context(fold);
}

enum md_status md__fold_selection(const struct md_node *node, const struct md_tensor *in,
                                  int in_count, void **prepared, size_t *bytes,
                                  struct md_error *err)
{
    struct md_selection selection;
    struct folded_selection counted = {0};
    struct fold fold = {.in = in, .in_count = in_count, .out = &counted};
    enum md_status status = MD_OK;
    if (!md__selection_of(node, &selection))
        return md_fail(err, MD_ERR_INTERNAL, "attributes do not fit the inputs");
    size_t reals_bytes = (size_t)selection.reals * sizeof(struct folded_real);
    size_t units = dim(&fold, md__selection_real(&selection, 0) + MD_REAL_NORM, 0);
    double *room = calloc(2 * (units + dim(&fold, 1, 1)) + 1, sizeof *room);
    struct folded_real *reals = calloc((size_t)selection.reals, sizeof *reals);
    struct folded_selection *out = NULL;
    if (room == NULL || reals == NULL)
        goto out;
    fold_all(&fold, node, &selection, reals, room);
    size_t floats = padded(reals_bytes / sizeof(float) + 1);
    *bytes = (sizeof *out + (floats + fold.packing.used) * sizeof(float) + 63) / 64 * 64;
    out = aligned_alloc(64, *bytes);
    if (out == NULL)
        goto out;
    memset(out, 0, *bytes);
    out->real = (struct folded_real *)(void *)out->memory;
    fold.out = out;
    fold.packing = (struct packing){.memory = out->memory + floats};
    fold_all(&fold, node, &selection, out->real, room);
    *prepared = out;
out:
    if (out == NULL)
        status = md_fail(err, MD_ERR_MEMORY, "packing weights: out of memory");
    free(room);
    free(reals);
    return status;
}
