/*
 * What the kernels of depthwise convolution share: conv_depthwise.c cuts an image into groups of
 * places, depthwise_slide.c sums those whose taps are neighbours.
 */
#ifndef MD_KERNELS_CPU_ISA_CONV_DEPTHWISE_H
#define MD_KERNELS_CPU_ISA_CONV_DEPTHWISE_H

#include "kernels/cpu/isa/conv_last.h"

/* Weights are packed [tap][channels padded]. */
struct depthwise {
    const struct conv_run *run;
    size_t channels, padded;
    int64_t plane_step, row_step; /* floats of x from tap row to tap row, on axes 0 and 1 */
    size_t row_weights;           /* floats of a tap row's weights */
};

/* An output line: the tap rows under it that lie on the image. */
struct depthwise_line {
    const float *x, *w; /* the first tap row's image line, and its weights */
    int64_t planes, rows;
    size_t first; /* number of its first place */
};

/* Neighbouring places of a line, some channels of them. */
struct depthwise_group {
    const struct depthwise_line *line;
    int64_t place, at;    /* on the line: the first; where on the image line its tap 0 is */
    int64_t tap, tap_end; /* on the last axis; only where all places have the same */
    size_t channel, channel_end;
};

/* x and w of tap row (a, b) of a line. */
INLINE const float *tap_row(const struct depthwise *depthwise, const struct depthwise_line *line,
                            int64_t a, int64_t b, const float **w)
{
    *w = line->w + (size_t)(a * depthwise->run->conv.window.kernel[1] + b) * depthwise->row_weights;
    return line->x + a * depthwise->plane_step + b * depthwise->row_step;
}

/* Residual, what is done in registers, and the store: of a vector of places from `first` on. */
INLINE void depthwise_finish(const struct conv_run *run, const vf *sum, size_t first,
                             size_t channel, const int places, const bool whole, size_t lanes)
{
    float *y = run->y + first * run->y_pitch + channel;
    const float *z = run->z ? run->z + first * run->z_pitch + channel : NULL;
#pragma GCC unroll 14
    for (int r = 0; r < places; r++) {
        vf value = sum[r];
        if (z)
            value += whole ? load(z + (size_t)r * run->z_pitch)
                           : load_some(z + (size_t)r * run->z_pitch, lanes);
        value = conv_ended(run, value);
        if (whole)
            store(y + (size_t)r * run->y_pitch, value);
        else
            store_some(y + (size_t)r * run->y_pitch, value, lanes);
    }
}

/* The most places of a group that slides, and whether groups of this convolution can. */
#define SLIDE_PLACES         (VECTOR_REGISTERS == 32 ? 14 : 8)
#define md__depthwise_slides MD_ISA_SYMBOL(md__depthwise_slides)
#define md__depthwise_slide  MD_ISA_SYMBOL(md__depthwise_slide)
bool md__depthwise_slides(const struct conv *conv);
/*
 * Sums of 1 to SLIDE_PLACES places. The last channels, when they are no whole vector, are summed
 * once more with those before them.
 */
void md__depthwise_slide(const struct depthwise *depthwise, const struct depthwise_group *group,
                         size_t places);

#endif
