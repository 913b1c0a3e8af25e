/*
 * Convolutions with few outputs, which would leave most lanes of a vector empty: lanes are outputs
 * of several neighbouring places. `places` of them with n outputs each are what a convolution with
 * places * n outputs, a stride `places` times as large and a kernel wide enough for all of them
 * gives, whose weights are those of the one place, shifted by its stride from place to place, with
 * zeros around. In memory the results lie just where they belong. It multiplies
 * (taps + (places - 1) * stride) / (places * taps) times as many vectors.
 *
 * The last places of a line, too few for a vector, are an ordinary convolution, as are all of them
 * where results lie apart. Both are direct
 * ones (conv_direct.c); packed weights are those of the first, then those of the second.
 */
#include <stdlib.h>

#include "kernels/cpu/isa/conv_last.h"

static int64_t places_of(const struct conv *conv)
{
    return conv->outputs && conv->outputs < VL ? (int64_t)(VL / conv->outputs) : 1;
}

/* As many lines, of places put together. */
static struct conv together(const struct conv *conv)
{
    struct conv made = *conv;
    struct md_window *window = &made.window;
    int64_t places = places_of(conv);
    window->kernel[2] += (places - 1) * window->stride[2];
    window->stride[2] *= places;
    window->out[2] /= places;
    made.outputs = made.group_outputs = conv->outputs * (size_t)places;
    made.taps = (size_t)(window->kernel[0] * window->kernel[1] * window->kernel[2]);
    return made;
}

/* The places of each line from *first on. */
static struct conv remainder_of(const struct conv *conv, size_t *first)
{
    struct conv made = *conv;
    int64_t left = conv->window.out[2] % places_of(conv), begin = conv->window.out[2] - left;
    made.window.out[2] = left;
    made.window.before[2] -= begin * conv->window.stride[2];
    *first = (size_t)begin;
    return made;
}

static bool narrow_can(const struct conv *conv)
{
    const struct md_window *window = &conv->window;
    int64_t places = places_of(conv), taps = window->kernel[2];
    if (conv->transposed || conv->groups != 1 || window->dilation[2] != 1 || places < 2)
        return false;
    const struct conv whole = together(conv);
    return 4 * whole.window.kernel[2] <= 3 * places * taps && md__conv_direct.can(&whole);
}

static bool narrow_wants(const struct conv *conv)
{
    return conv->window.out[2] >= places_of(conv);
}

static size_t narrow_bytes(const struct conv *conv)
{
    const struct conv whole = together(conv);
    return md__conv_direct.packed_bytes(&whole) + md__conv_direct.packed_bytes(conv);
}

static bool narrow_pack(const struct conv *conv, const float *weights, void *packed)
{
    const struct conv whole = together(conv);
    size_t taps = (size_t)conv->window.kernel[2], wide = (size_t)whole.window.kernel[2];
    size_t rows = conv->channels * conv->taps / taps, stride = (size_t)conv->window.stride[2];
    float *shifted = calloc(whole.outputs * rows * wide, sizeof *shifted);
    if (!shifted)
        return false;
    for (size_t o = 0; o < whole.outputs; o++)
        for (size_t r = 0; r < rows; r++)
            memcpy(shifted + (o * rows + r) * wide + o / conv->outputs * stride,
                   weights + (o % conv->outputs * rows + r) * taps, taps * sizeof *weights);
    char *second = (char *)packed + md__conv_direct.packed_bytes(&whole);
    bool done = md__conv_direct.pack(&whole, shifted, packed) &&
                md__conv_direct.pack(conv, weights, second);
    free(shifted);
    return done;
}

static size_t narrow_scratch(const struct conv *conv)
{
    size_t first;
    const struct conv whole = together(conv), rest = remainder_of(conv, &first);
    size_t a = md__conv_direct.scratch(&whole), b = md__conv_direct.scratch(&rest);
    return a > b ? a : b;
}

static void narrow_run(const struct conv_run *run)
{
    const struct conv *conv = &run->conv;
    float bias[VL];
    size_t first;
    struct conv_run whole = *run, rest = *run;
    whole.conv = together(conv);
    rest.packed = (const char *)run->packed + md__conv_direct.packed_bytes(&whole.conv);
    if (run->y_pitch > conv->outputs || (run->z && run->z_pitch > conv->outputs)) {
        md__conv_direct.run(&rest); /* neighbouring places do not follow each other */
        return;
    }
    whole.y_pitch = whole.z_pitch = whole.conv.outputs;
    rest.conv = remainder_of(conv, &first);
    whole.y_line = rest.y_line = (size_t)conv->window.out[2] * conv->outputs;
    for (size_t i = 0; run->bias && i < whole.conv.outputs; i++)
        bias[i] = run->bias[i % conv->outputs];
    whole.bias = run->bias ? bias : NULL;
    md__conv_direct.run(&whole);
    rest.y += first * conv->outputs;
    rest.z = run->z ? run->z + first * conv->outputs : NULL;
    md__conv_direct.run(&rest);
}

const struct conv_algorithm md__conv_narrow = {.name = "narrow",
                                               .can = narrow_can,
                                               .wants = narrow_wants,
                                               .packed_bytes = narrow_bytes,
                                               .pack = narrow_pack,
                                               .scratch = narrow_scratch,
                                               .run = narrow_run};
