/*
 * Reference kernels that order or choose elements by value: TopK, NonZero, Compress,
 * Unique. All but TopK make outputs whose size only the values decide.
 *
 * Order is NumPy's: NaN is larger than every number, and of equal elements the earlier one comes
 * first.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/ref.h"

/* -1, 0 or 1 as element i of `tensor` is smaller than, equal to or larger than element j. */
static int compare_elements(const struct md_tensor *tensor, size_t i, size_t j)
{
    if (md__dtype_is_float(tensor->dtype)) {
        double a = md__get_float(tensor, i), b = md__get_float(tensor, j);
        if (isnan(a) || isnan(b))
            return (int)isnan(a) - (int)isnan(b);
        return (a > b) - (a < b);
    }
    int64_t a = md__get_int(tensor, i), b = md__get_int(tensor, j);
    if (tensor->dtype == MD_U64)
        return ((uint64_t)a > (uint64_t)b) - ((uint64_t)a < (uint64_t)b);
    return (a > b) - (a < b);
}

/* ---- TopK ------------------------------------------------------------------------------------ */

struct ranking {
    const struct md_tensor *tensor;
    size_t base, step; /* element k of the line lies at base + k * step */
    bool largest;
};

static int by_rank(const void *a, const void *b, void *context)
{
    const struct ranking *ranking = context;
    int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    int order = compare_elements(ranking->tensor, ranking->base + (size_t)i * ranking->step,
                                 ranking->base + (size_t)j * ranking->step);
    if (order)
        return ranking->largest ? -order : order;
    return (i > j) - (i < j);
}

static size_t top_k_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                            int threads)
{
    (void)in_count, (void)threads;
    int axis = md__axis(md_node_int(node, "axis", -1), in[0].shape.rank);
    return axis == MD_NONE ? 0 : (size_t)in[0].shape.dim[axis] * sizeof(int64_t);
}

static enum md_status top_k_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0], *values = &call->out[0];
    int rank = in->shape.rank, axis = md__axis(md_node_int(call->node, "axis", -1), rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", rank);
    size_t count = (size_t)in->shape.dim[axis], k = (size_t)values->shape.dim[axis];
    size_t inner = md__span(&in->shape, axis + 1, rank), outer = md__span(&in->shape, 0, axis);
    size_t bytes = md_dtype_bytes(in->dtype);
    int64_t *order = call->scratch;
    int64_t *indices = call->out_count > 1 ? call->out[1].data : NULL;
    struct ranking ranking = {
        .tensor = in, .step = inner, .largest = md_node_int(call->node, "largest", 1) != 0};
    for (size_t line = 0; line < outer * inner; line++) {
        size_t o = line / inner, i = line % inner;
        ranking.base = o * count * inner + i;
        for (size_t n = 0; n < count; n++)
            order[n] = (int64_t)n;
        qsort_r(order, count, sizeof *order, by_rank, &ranking);
        for (size_t n = 0; n < k; n++) {
            size_t to = (o * k + n) * inner + i;
            memcpy((char *)values->data + to * bytes,
                   (const char *)in->data + (ranking.base + (size_t)order[n] * inner) * bytes,
                   bytes);
            if (indices)
                indices[to] = order[n];
        }
    }
    return MD_OK;
}

/* ---- NonZero, Compress ------------------------------------------------------------------------
 */

static bool is_zero(const struct md_tensor *tensor, size_t i)
{
    return md__dtype_is_float(tensor->dtype) ? md__get_float(tensor, i) == 0
                                             : md__get_int(tensor, i) == 0;
}

/* Column k of the output is the index of the k-th element that is not zero. */
static enum md_status non_zero_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0];
    size_t total = md__count(in), count = 0, k = 0;
    for (size_t i = 0; i < total; i++)
        count += !is_zero(in, i);
    struct md_shape shape = md_shape_of(2, (int64_t[]){in->shape.rank, (int64_t)count});
    enum md_status status = md_kernel_output(call, 0, &shape, err);
    if (status)
        return status;
    int64_t *out = call->out[0].data;
    struct md__walk walk;
    md__walk_init(&walk, in->shape.rank, in->shape.dim);
    for (size_t i = 0; i < total; i++, md__walk_next(&walk)) {
        if (is_zero(in, i))
            continue;
        for (int a = 0; a < in->shape.rank; a++)
            out[(size_t)a * count + k] = walk.index[a];
        k++;
    }
    return MD_OK;
}

static enum md_status compress_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0];
    const uint8_t *keep = call->in[1].data;
    bool flat = md_node_attr(call->node, "axis") == NULL;
    int axis = flat ? 0 : md__axis(md_node_int(call->node, "axis", 0), in->shape.rank);
    struct md_shape shape = in->shape;
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", in->shape.rank);
    if (flat)
        shape = md_shape_of(1, &(int64_t){(int64_t)md__count(in)});
    size_t dim = (size_t)shape.dim[axis], conditions = md__count(&call->in[1]), kept = 0;
    size_t length = conditions < dim ? conditions : dim;
    for (size_t i = conditions; i > dim; i--)
        if (keep[i - 1])
            return md_fail(err, MD_ERR_UNPROCESSABLE, "keeps element %zu of %zu", i - 1, dim);
    for (size_t i = 0; i < length; i++)
        kept += keep[i] != 0;
    size_t outer = md__span(&shape, 0, axis);
    size_t run = md__span(&shape, axis + 1, shape.rank) * md_dtype_bytes(in->dtype);
    shape.dim[axis] = (int64_t)kept;
    enum md_status status = md_kernel_output(call, 0, &shape, err);
    char *to = call->out[0].data;
    for (size_t o = 0; !status && o < outer; o++)
        for (size_t i = 0; i < length; i++)
            if (keep[i]) {
                memcpy(to, (const char *)in->data + (o * dim + i) * run, run);
                to += run;
            }
    return status;
}

/* ---- Unique ---------------------------------------------------------------------------------- */

/* Slices along an axis: slice k is the elements ((o * count + k) * inner + i). */
struct slices {
    const struct md_tensor *tensor;
    size_t outer, count, inner;
};

static int compare_slices(const struct slices *slices, int64_t a, int64_t b)
{
    for (size_t o = 0; o < slices->outer; o++)
        for (size_t i = 0; i < slices->inner; i++) {
            size_t base = o * slices->count;
            int order = compare_elements(slices->tensor, (base + (size_t)a) * slices->inner + i,
                                         (base + (size_t)b) * slices->inner + i);
            if (order)
                return order;
        }
    return 0;
}

static int by_slice(const void *a, const void *b, void *context)
{
    int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    int order = compare_slices(context, i, j);
    return order ? order : (i > j) - (i < j);
}

static int by_number(const void *a, const void *b)
{
    int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    return (i > j) - (i < j);
}

static struct slices slices_of(const struct md_node *node, const struct md_tensor *in)
{
    if (!md_node_attr(node, "axis"))
        return (struct slices){in, 1, md__count(in), 1};
    int rank = in->shape.rank, axis = md__axis(md_node_int(node, "axis", 0), rank);
    return (struct slices){in, md__span(&in->shape, 0, axis), (size_t)in->shape.dim[axis],
                           md__span(&in->shape, axis + 1, rank)};
}

/* order, first, group: see unique_run */
static size_t unique_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                             int threads)
{
    (void)in_count, (void)threads;
    return 3 * slices_of(node, in).count * sizeof(int64_t);
}

static enum md_status unique_outputs(const struct md_kernel_call *call, const struct slices *slices,
                                     int64_t unique, struct md_error *err)
{
    struct md_shape list = md_shape_of(1, &unique), shape = list;
    if (md_node_attr(call->node, "axis")) {
        shape = slices->tensor->shape;
        shape.dim[md__axis(md_node_int(call->node, "axis", 0), shape.rank)] = unique;
    }
    enum md_status status = md_kernel_output(call, 0, &shape, err);
    for (int i = 1; !status && i < call->out_count; i += 2) /* 2 has the input's length */
        status = md_kernel_output(call, i, &list, err);
    return status;
}

/* `first` lists each distinct slice by its first occurrence, in the order of the output. */
static void copy_unique(const struct md_kernel_call *call, const struct slices *slices,
                        const int64_t *first, size_t unique)
{
    size_t run = slices->inner * md_dtype_bytes(slices->tensor->dtype);
    char *to = call->out[0].data;
    for (size_t o = 0; o < slices->outer; o++)
        for (size_t u = 0; u < unique; u++, to += run)
            memcpy(to,
                   (const char *)slices->tensor->data +
                       (o * slices->count + (size_t)first[u]) * run,
                   run);
}

/* Slices sorted, equal ones are neighbours: `group` numbers each slice's set by its first slice. */
static enum md_status unique_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct slices slices = slices_of(call->node, &call->in[0]);
    int64_t *order = call->scratch, *first = order + slices.count, *group = first + slices.count;
    size_t unique = 0;
    for (size_t i = 0; i < slices.count; i++)
        order[i] = (int64_t)i;
    qsort_r(order, slices.count, sizeof *order, by_slice, &slices);
    for (size_t i = 0; i < slices.count; i++) {
        if (i == 0 || compare_slices(&slices, order[i - 1], order[i]) != 0)
            first[unique++] = order[i];
        group[order[i]] = first[unique - 1];
    }
    if (!md_node_int(call->node, "sorted", 1))
        qsort(first, unique, sizeof *first, by_number);
    enum md_status status = unique_outputs(call, &slices, (int64_t)unique, err);
    if (status)
        return status;
    copy_unique(call, &slices, first, unique);
    if (call->out_count > 1)
        memcpy(call->out[1].data, first, unique * sizeof *first);
    for (size_t u = 0; u < unique; u++) /* order is free: the place of each first slice */
        order[first[u]] = (int64_t)u;
    for (size_t i = 0; i < slices.count; i++) {
        int64_t place = order[group[i]];
        if (call->out_count > 2)
            ((int64_t *)call->out[2].data)[i] = place;
        if (call->out_count > 3)
            ((int64_t *)call->out[3].data)[place]++;
    }
    return MD_OK;
}

const struct md_kernel md__ref_top_k = {.scratch_bytes = top_k_scratch, .run = top_k_run};
const struct md_kernel md__ref_non_zero = {.run = non_zero_run};
const struct md_kernel md__ref_compress = {.run = compress_run};
const struct md_kernel md__ref_unique = {.scratch_bytes = unique_scratch, .run = unique_run};
