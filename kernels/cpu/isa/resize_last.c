/*
 * Resize of channels-last images by nearest and linear sampling, with a residual and an activation:
 * y = activation(resize(x) + z).
 *
 * What each output row and column reads is worked out once into tables (in double, like the
 * reference). A row of the output is first blended from two rows of the input, then from columns of
 * that blend, in vectors of channels. Where batch or channels are resized as well, elements are
 * worked out one by one.
 */
#include <math.h>

#include "graph/resize.h"
#include "kernels/cpu/isa/activation.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/last.h"

#define AXES 4 /* batch, rows, columns, channels */

/* An output position shows (1 - share) * element low + share * element high. */
struct source {
    size_t low, high;
    float share;
};

struct resizing {
    const struct md_kernel_call *call;
    struct md_activation activation;
    const float *z;
    size_t in[AXES], out[AXES];
    struct source *sources[AXES];
    size_t x_pitch, y_pitch, z_pitch; /* floats from pixel to pixel */
    float *blend;                     /* a row of the input for each thread */
};

/* ---- Tables ---------------------------------------------------------------------------------- */

static void read_list(const struct md_tensor *in, int in_count, int i, double *list, int *count)
{
    *count = md__has(in, in_count, i) && in[i].data ? (int)md__count(&in[i]) : 0;
    for (int k = 0; k < *count && k < 2 * MD_RANK_MAX; k++)
        list[k] = md__get_float(&in[i], (size_t)k);
}

/* The geometry, with axes as ONNX has them: batch, channels, spatial. */
static enum md_status read_geometry(const struct md_node *node, const struct md_tensor *in,
                                    int in_count, struct md_resize *resize, struct md_error *err)
{
    struct md_resize_lists lists;
    const struct md_shape shape = last_as_first(&in[0].shape);
    read_list(in, in_count, 1, lists.roi, &lists.roi_count);
    read_list(in, in_count, 2, lists.scales, &lists.scale_count);
    read_list(in, in_count, 3, lists.sizes, &lists.size_count);
    return md__resize_init(node, &shape, &lists, resize, err);
}

/* The axis of the geometry that axis a of a [batch, rows, columns, channels] tensor is; -1: none,
 * it has one element. */
static int axis_of(const struct md_resize *resize, int a)
{
    if (a == 0)
        return 0;
    if (a == AXES - 1)
        return 1;
    return resize->rank == 4 ? a + 1 : a == 2 ? 2 : -1;
}

static size_t clamped(double at, size_t length)
{
    return at <= 0 ? 0 : at >= (double)length ? length - 1 : (size_t)at;
}

static double nearest(const char *mode, double x)
{
    if (mode[0] == 'f') /* floor, ceil, round_prefer_ceil, round_prefer_floor */
        return floor(x);
    if (mode[0] == 'c')
        return ceil(x);
    return mode[sizeof "round_prefer_" - 1] == 'c' ? floor(x + 0.5) : ceil(x - 0.5);
}

static void fill_sources(const struct md_node *node, const struct md_resize *resize, int axis,
                         struct source *sources)
{
    bool linear = md_node_string(node, "mode", "nearest")[0] == 'l';
    const char *mode = md_node_string(node, "nearest_mode", "round_prefer_floor");
    const struct md_resize_axis *a = &resize->axes[axis];
    size_t length = (size_t)a->in;
    for (int64_t i = 0; i < a->out; i++) {
        double x = a->used ? md__resize_source(resize, axis, i) : (double)i;
        double low = linear ? floor(x) : nearest(mode, x);
        sources[i] = (struct source){clamped(low, length), clamped(low + linear, length),
                                     linear ? (float)(x - low) : 0};
        if (sources[i].low == sources[i].high)
            sources[i].share = 0;
    }
}

/* ---- Rows ------------------------------------------------------------------------------------ */

INLINE vf mixed(vf a, vf b, float share)
{
    return a + share * (b - a);
}

static void blend_some(const float *low, const float *high, float share, float *blend, size_t count)
{
    for (size_t i = 0; i < count; i += VL)
        store_upto(blend + i,
                   mixed(load_upto(low + i, count - i), load_upto(high + i, count - i), share),
                   count - i);
}

/* The row of the input that a row of the output shows, and how far its pixels are apart. */
static const float *blended_row(const struct resizing *all, const float *image,
                                const struct source *source, float *blend, size_t *pitch)
{
    size_t width = all->in[2], channels = all->in[3];
    const float *low = image + source->low * width * all->x_pitch;
    const float *high = image + source->high * width * all->x_pitch;
    *pitch = source->share == 0 ? all->x_pitch : channels;
    if (source->share == 0)
        return low;
    if (all->x_pitch == channels)
        blend_some(low, high, source->share, blend, width * channels);
    else
        for (size_t j = 0; j < width; j++)
            blend_some(low + j * all->x_pitch, high + j * all->x_pitch, source->share,
                       blend + j * channels, channels);
    return blend;
}

INLINE void resize_row(const struct resizing *all, const float *x, size_t pitch, const float *z,
                       float *y, const bool has_z, const bool relu)
{
    size_t channels = all->in[3];
    for (size_t j = 0; j < all->out[2]; j++, y += all->y_pitch) {
        const struct source *source = &all->sources[2][j];
        const float *low = x + source->low * pitch, *high = x + source->high * pitch;
        for (size_t c = 0; c < channels; c += VL) {
            size_t left = channels - c;
            vf out = load_upto(low + c, left);
            if (source->share != 0)
                out = mixed(out, load_upto(high + c, left), source->share);
            if (has_z)
                out += load_upto(z + j * all->z_pitch + c, left);
            if (relu)
                out = vmax(splat(0), out);
            store_upto(y + c, out, left);
        }
    }
}

static void resize_rows(void *context, size_t begin, size_t end, int thread)
{
    const struct resizing *all = context;
    size_t image = all->in[1] * all->in[2] * all->x_pitch, width = all->out[2], pitch;
    float *blend = all->blend + (size_t)thread * padded(all->in[2] * all->in[3]);
    bool relu = all->activation.op == MD_OP_RELU && !all->activation.shifts;
    for (size_t r = begin; r < end; r++) {
        const float *x = (const float *)all->call->in[0].data + r / all->out[1] * image;
        const float *z = all->z ? all->z + r * width * all->z_pitch : NULL;
        float *y = (float *)all->call->out[0].data + r * width * all->y_pitch;
        x = blended_row(all, x, &all->sources[1][r % all->out[1]], blend, &pitch);
        if (z && relu)
            resize_row(all, x, pitch, z, y, true, true);
        else if (z)
            resize_row(all, x, pitch, z, y, true, false);
        else if (relu)
            resize_row(all, x, pitch, z, y, false, true);
        else
            resize_row(all, x, pitch, z, y, false, false);
        if (!relu)
            md__activate(&all->activation, y, all->y_pitch, all->out[2], all->out[3]);
    }
}

/* ---- Elements, where any axis may be resized ------------------------------------------------- */

static float sample(const struct resizing *all, const size_t *at, int axis, size_t offset)
{
    if (axis == AXES)
        return ((const float *)all->call->in[0]
                    .data)[offset / all->in[3] * all->x_pitch + offset % all->in[3]];
    const struct source *source = &all->sources[axis][at[axis]];
    float low = sample(all, at, axis + 1, offset * all->in[axis] + source->low);
    if (source->share == 0)
        return low;
    float high = sample(all, at, axis + 1, offset * all->in[axis] + source->high);
    return low + source->share * (high - low);
}

static void resize_elements(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct resizing *all = context;
    float *y = all->call->out[0].data;
    for (size_t i = begin; i < end; i++) {
        size_t at[AXES], rest = i;
        for (int a = AXES; a-- > 0; rest /= all->out[a])
            at[a] = rest % all->out[a];
        size_t pixel = i / all->out[3], channel = at[3];
        float *to = &y[pixel * all->y_pitch + channel];
        *to = sample(all, at, 0, 0) + (all->z ? all->z[pixel * all->z_pitch + channel] : 0);
        md__activate(&all->activation, to, 1, 1, 1);
    }
}

/* ---- The kernel ------------------------------------------------------------------------------ */

static bool resize_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    const char *mode = md_node_string(node, "mode", "nearest");
    const char *coordinates = md_node_string(node, "coordinate_transformation_mode", "half_pixel");
    if (in[0].dtype != MD_F32 || in[0].shape.rank < 3 || in[0].shape.rank > 4 ||
        (md__has(in, in_count, 4) && in[4].dtype != MD_F32))
        return false;
    return mode[0] != 'c' && strcmp(coordinates, "tf_crop_and_resize") != 0 &&
           !md_node_int(node, "antialias", 0) && !md_node_int(node, "exclude_outside", 0);
}

static size_t table_bytes(const struct md_resize *resize)
{
    size_t count = 1; /* of an axis that is not there */
    for (int i = 0; i < resize->rank; i++)
        count += (size_t)resize->axes[i].out;
    return (count * sizeof(struct source) + 63) / 64 * 64;
}

static size_t resize_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                             int threads)
{
    struct md_resize resize;
    const struct md_shape *shape = &in[0].shape;
    if (read_geometry(node, in, in_count, &resize, NULL))
        return 0;
    size_t row = padded(md__span(shape, shape->rank - 2, shape->rank));
    return table_bytes(&resize) + (size_t)threads * row * sizeof(float);
}

static bool keeps(const struct md_resize_axis *axis)
{
    return !axis->used || (axis->in == axis->out && axis->scale == 1);
}

static enum md_status resize_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct md_resize resize;
    enum md_status status = read_geometry(call->node, call->in, call->in_count, &resize, err);
    if (status)
        return status;
    struct resizing all = {.call = call,
                           .activation = md_activation_of(call->node),
                           .z = md__has(call->in, call->in_count, 4) ? call->in[4].data : NULL,
                           .blend = (float *)((char *)call->scratch + table_bytes(&resize))};
    struct source *sources = call->scratch;
    for (int a = 0; a < AXES; a++) {
        int axis = axis_of(&resize, a);
        all.in[a] = axis < 0 ? 1 : (size_t)resize.axes[axis].in;
        all.out[a] = axis < 0 ? 1 : (size_t)resize.axes[axis].out;
        all.sources[a] = sources;
        if (axis < 0)
            sources[0] = (struct source){0, 0, 0};
        else if (all.in[a])
            fill_sources(call->node, &resize, axis, sources);
        sources += all.out[a];
    }
    all.x_pitch = md_kernel_pitch(call, 0, all.in[3]);
    all.z_pitch = all.z ? md_kernel_pitch(call, 4, all.out[3]) : 0;
    all.y_pitch = md_kernel_pitch(call, call->in_count, all.out[3]);
    size_t width = all.out[2] * all.out[3], rows = all.out[0] * all.out[1];
    if (width == 0 || rows == 0)
        return MD_OK;
    if (keeps(&resize.axes[0]) && keeps(&resize.axes[1]))
        md__parallel(call->pool, rows, md__grain(width / 4), resize_rows, &all);
    else
        md__parallel(call->pool, rows * width, md__grain(32), resize_elements, &all);
    return MD_OK;
}

const struct md_kernel md__resize_last = {.supports = resize_supports,
                                          .scratch_bytes = resize_scratch,
                                          .run = resize_run,
                                          .pitched =
                                              MD_PITCHED_IN(0) | MD_PITCHED_IN(4) | MD_PITCHED_OUT};
