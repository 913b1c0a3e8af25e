/*
 * Convolutions on channels-last tensors: what moondial.ConvLast and moondial.ConvTransposeLast are
 * made of. conv_last.c reads a node into a `struct conv` and picks an algorithm from its table;
 * each algorithm is a file that defines one `struct conv_algorithm`.
 *
 * An algorithm packs the weights once, then runs for any batch and any spatial sizes. What follows
 * the sums (bias, residual, activation) is its own to do, before the store where it can.
 */
#ifndef MD_KERNELS_CPU_ISA_CONV_LAST_H
#define MD_KERNELS_CPU_ISA_CONV_LAST_H

#include "graph/window.h"
#include "kernels/cpu/isa/activation.h"
#include "kernels/cpu/isa/vec.h"

struct conv {
    struct md_window window; /* three axes; transposed: md__window_init_transposed's */
    bool transposed;
    size_t batch, channels, outputs;
    size_t groups, group_channels, group_outputs;
    size_t taps; /* of a kernel, all axes */
    bool gated;  /* x is multiplied by a number a channel: direct convolutions do it */
    int threads;
};

/* One run. Tensors are [batch, places.., channels], places a pitch apart. */
struct conv_run {
    struct conv conv;
    const void *packed;               /* what pack() made */
    const float *x, *bias, *z;        /* bias, z may be NULL; z has y's shape */
    const float *gate;                /* of a gated one: channels of an image, */
    size_t gate_image;                /* ... floats from image to image */
    float *y;                         /* = activation(sum + bias + z) */
    size_t x_pitch, y_pitch, z_pitch; /* floats from place to place */
    size_t y_line; /* floats from line to line of y and z where they are not places; 0: they are */
    struct md_activation after;        /* what is left to do to stored results */
    bool clamps, hard_swishes, shifts; /* what conv_ended does */
    float low, high, scale, shift;
    void *scratch; /* scratch() bytes, aligned to 64 */
    struct md_pool *pool;
};

struct conv_algorithm {
    const char *name; /* shorter than 16 bytes */
    /* Whether it computes this, judged without looking at batch and spatial sizes. */
    bool (*can)(const struct conv *conv);
    /* Whether it is the best for the sizes of the first plan (others may follow); NULL: always. */
    bool (*wants)(const struct conv *conv);
    size_t (*packed_bytes)(const struct conv *conv);
    /*
     * Packs weights that lie as ONNX has them, [outputs, group_channels, taps], transposed
     * [channels, group_outputs, taps], into packed_bytes zeroed bytes, aligned to 64, without
     * pointers. False: it would rather not (too large an error), the next one in the table is
     * asked.
     */
    bool (*pack)(const struct conv *conv, const float *weights, void *packed);
    size_t (*scratch)(const struct conv *conv); /* bytes for all threads together; NULL: none */
    void (*run)(const struct conv_run *run);
};

#define md__conv_depthwise MD_ISA_SYMBOL(md__conv_depthwise)
#define md__conv_direct    MD_ISA_SYMBOL(md__conv_direct)
#define md__conv_narrow    MD_ISA_SYMBOL(md__conv_narrow)
#define md__conv_winograd  MD_ISA_SYMBOL(md__conv_winograd)
extern const struct conv_algorithm md__conv_depthwise, md__conv_direct, md__conv_narrow,
    md__conv_winograd;

/* ---- conv_last.c: a node of ConvLast or ConvTransposeLast as a convolution ---- */

#define md__conv_describe        MD_ISA_SYMBOL(md__conv_describe)
#define md__conv_outline         MD_ISA_SYMBOL(md__conv_outline)
#define md__conv_read_activation MD_ISA_SYMBOL(md__conv_read_activation)
/* Everything, from the shapes of x and the weights; false: the window does not fit. */
bool md__conv_describe(const struct md_node *node, const struct md_tensor *in, int threads,
                       struct conv *conv);
/* What weights of this shape and attributes say, for `can`. */
bool md__conv_outline(const struct md_node *node, const struct md_shape *w, struct conv *conv);
/* `after`, and what conv_ended goes by. */
void md__conv_read_activation(const struct md_node *node, struct conv_run *run);

/* How many groups narrower than a vector are put together, block-diagonally. */
INLINE size_t conv_together(const struct conv *conv)
{
    size_t together = 1;
    for (size_t n = 2; conv->group_outputs * n <= VL && n <= conv->groups; n++)
        together = conv->groups % n == 0 ? n : together;
    return together;
}

/* Relu, Clip, HardSwish and what they end with, in registers. */
INLINE vf conv_ended(const struct conv_run *run, vf v)
{
    if (run->clamps)
        v = vmin(splat(run->high), vmax(splat(run->low), v));
    if (run->hard_swishes)
        v *= vmin(splat(1), vmax(splat(0), v * 0x1.555556p-3f + 0.5f));
    if (run->shifts)
        v = v * run->scale + run->shift;
    return v;
}

/* The activation that conv_ended did not do, of stored results: `rows` rows, `stride` floats apart.
 */
INLINE void conv_activate(const struct conv_run *run, float *y, size_t stride, size_t rows,
                          size_t columns)
{
    if (md_activation_acts(&run->after))
        md__activate(&run->after, y, stride, rows, columns);
}

#endif
