/*
 * Reference GridSample (1 to 3 spatial axes; nearest, linear, cubic; zeros, border, reflection) and
 * AffineGrid, which makes grids. Coordinates are shares of the image in [-1, 1], the last axis
 * first.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/ref.h"

enum method { LINEAR, NEAREST, CUBIC };
enum padding { ZEROS, BORDER, REFLECTION };

struct sampling {
    const struct md_tensor *x;
    int axes;
    enum method method;
    enum padding padding;
    bool corners; /* -1 and 1 are centres of the outermost elements, not their edges */
};

/* Folds x back into [low, high] as often as needed. */
static double reflected(double x, double low, double high)
{
    double range = high - low;
    if (range <= 0)
        return low;
    double over = x < low ? low - x : x > high ? x - high : 0;
    if (over == 0)
        return x;
    double times = floor(over / range), rest = over - times * range;
    bool even = fmod(times, 2) == 0;
    return (x < low) == even ? low + rest : high - rest;
}

/*
 * Of one or two neighbours it is the same to move the place or each neighbour. Of four it is not:
 * there every neighbour is moved, as PyTorch and ONNX Runtime do, and the weights are those of the
 * place outside. (The standard's evaluator moves the place, its text leaves it open.)
 */
static double into_image(const struct sampling *how, double x, int64_t length)
{
    double low = how->corners ? 0 : -0.5, high = (double)length - (how->corners ? 1 : 0.5);
    if (x >= low && x <= high)
        return x;
    if (how->padding == BORDER)
        return fmin(fmax(x, 0), (double)length - 1);
    return how->padding == REFLECTION ? reflected(x, low, high) : x;
}

/* The element at index i of an axis, or -1 for a zero. */
static int64_t element(const struct sampling *how, double at, int64_t length)
{
    double low = how->corners ? 0 : -0.5, high = (double)length - (how->corners ? 1 : 0.5);
    if (how->padding == REFLECTION)
        at = reflected(at, low, high);
    if (how->padding != ZEROS)
        at = fmin(fmax(at, 0), (double)length - 1);
    return at >= 0 && at < (double)length ? (int64_t)at : -1;
}

static void weights_of(enum method method, double part, double *weights)
{
    if (method == LINEAR) {
        weights[0] = 1 - part;
        weights[1] = part;
        return;
    }
    for (int k = 0; k < 4; k++)
        weights[k] = md__cubic_weight(fabs(part + 1 - k), -0.75);
}

/* The sample at `place` (first axis first) of the plane that starts at base. */
static double sample(const struct sampling *how, size_t base, int axis, const double *place)
{
    if (axis == how->axes)
        return md__get_float(how->x, base);
    int64_t length = how->x->shape.dim[2 + axis];
    size_t stride = md__span(&how->x->shape, 3 + axis, how->x->shape.rank);
    double weights[4] = {1}, left = place[axis], sum = 0;
    int taps = 1;
    if (how->method != NEAREST) {
        taps = how->method == LINEAR ? 2 : 4;
        left = floor(place[axis]);
        weights_of(how->method, place[axis] - left, weights);
        left -= how->method == CUBIC ? 1 : 0;
    }
    for (int k = 0; k < taps; k++) {
        int64_t at = element(how, left + k, length);
        if (at >= 0 && weights[k] != 0)
            sum += weights[k] * sample(how, base + (size_t)at * stride, axis + 1, place);
    }
    return sum;
}

struct grid_job {
    const struct md_kernel_call *call;
    struct sampling how;
    size_t positions; /* of one output plane */
};

/* Output positions [begin, end), counted through the batch; all channels of each. */
static void sample_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct grid_job *job = context;
    const struct md_tensor *x = &job->call->in[0], *grid = &job->call->in[1];
    size_t channels = (size_t)x->shape.dim[1], plane = md__span(&x->shape, 2, x->shape.rank);
    int axes = job->how.axes;
    for (size_t i = begin; i < end; i++) {
        double place[3];
        bool finite = true;
        for (int a = 0; a < axes; a++) {
            double share = md__get_float(grid, i * (size_t)axes + (size_t)(axes - 1 - a));
            double length = (double)x->shape.dim[2 + a];
            place[a] =
                job->how.corners ? (share + 1) / 2 * (length - 1) : ((share + 1) * length - 1) / 2;
            if (job->how.method == NEAREST)
                place[a] = nearbyint(place[a]);
            if (job->how.method != CUBIC)
                place[a] = into_image(&job->how, place[a], x->shape.dim[2 + a]);
            finite = finite && isfinite(place[a]);
        }
        size_t n = i / job->positions, within = i % job->positions;
        for (size_t c = 0; c < channels; c++) {
            size_t image = n * channels + c;
            md__set_float(&job->call->out[0], image * job->positions + within,
                          finite ? sample(&job->how, image * plane, 0, place) : 0);
        }
    }
}

static enum md_status grid_sample_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *x = &call->in[0];
    const char *mode = md_node_string(call->node, "mode", "linear");
    const char *padding = md_node_string(call->node, "padding_mode", "zeros");
    struct grid_job job = {.call = call,
                           .how = {.x = x,
                                   .axes = x->shape.rank - 2,
                                   .method = strcmp(mode, "nearest") == 0 ? NEAREST
                                             : strcmp(mode, "cubic") == 0 ? CUBIC
                                                                          : LINEAR,
                                   .padding = strcmp(padding, "border") == 0       ? BORDER
                                              : strcmp(padding, "reflection") == 0 ? REFLECTION
                                                                                   : ZEROS,
                                   .corners = md_node_int(call->node, "align_corners", 0) != 0},
                           .positions = md__span(&call->out[0].shape, 2, x->shape.rank)};
    if (md__count(x) == 0) {
        memset(call->out[0].data, 0, md__count(&call->out[0]) * md_dtype_bytes(x->dtype));
        return MD_OK;
    }
    size_t cost = (size_t)x->shape.dim[1] << (2 * job.how.axes);
    md__parallel(call->pool, (size_t)x->shape.dim[0] * job.positions, md__grain(cost * 8),
                 sample_some, &job);
    return MD_OK;
}

/* ---- AffineGrid ------------------------------------------------------------------------------ */

static enum md_status affine_grid_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *theta = &call->in[0], *y = &call->out[0];
    bool corners = md_node_int(call->node, "align_corners", 0) != 0;
    int axes = y->shape.rank - 2;
    struct md__walk walk;
    md__walk_init(&walk, axes + 1, y->shape.dim);
    size_t count = md__span(&y->shape, 0, axes + 1), at = 0;
    for (size_t i = 0; i < count; i++, md__walk_next(&walk)) {
        double place[4] = {0};
        for (int a = 0; a < axes; a++) { /* the last axis first */
            double length = (double)y->shape.dim[axes - a], k = (double)walk.index[axes - a];
            place[a] = !corners     ? (2 * k + 1) / length - 1
                       : length > 1 ? 2 * k / (length - 1) - 1
                                    : -1;
        }
        place[axes] = 1;
        size_t matrix = (size_t)walk.index[0] * (size_t)(axes * (axes + 1));
        for (int r = 0; r < axes; r++) {
            double sum = 0;
            for (int c = 0; c <= axes; c++)
                sum += md__get_float(theta, matrix + (size_t)(r * (axes + 1) + c)) * place[c];
            md__set_float(y, at++, sum);
        }
    }
    return MD_OK;
}

const struct md_kernel md__ref_grid_sample = {.run = grid_sample_run};
const struct md_kernel md__ref_affine_grid = {.run = affine_grid_run};
