/*
 * Depthwise convolution of bytes: channels in lanes. A task is an output line; places whose taps
 * all lie inside the line go together, those at its ends one by one. Tap rows above and below the
 * image read a line of zero points, as do single taps at the ends, so that every place has all taps
 * and the same correction.
 *
 * Two ways: taps two at a time as 16-bit numbers, weights less their zero points; or, with VNNI and
 * weights without zero points, four taps at a time, 64 channels together (int8_taps.c). Weights are
 * packed for both: sums of each channel, then [pair of taps][channels padded], then the other's.
 */
#include "kernels/cpu/isa/int8_depthwise.h"

#define TAPS_MAX 64

bool byte_depthwise_can(const struct byte_conv *conv)
{
    return conv->group_channels == 1 && conv->group_outputs == 1 && conv->channels > 1 &&
           conv->taps <= TAPS_MAX;
}

static size_t pairs_of(const struct byte_conv *conv)
{
    return (conv->taps + 1) / 2;
}

/* A flag in front: whether zero points of weights allow for four taps at a time. */
#define FLAG_NUMBERS PANEL_COLUMNS

static size_t pair_numbers(const struct byte_conv *conv)
{
    return FLAG_NUMBERS + (1 + pairs_of(conv)) * byte_padded(conv->channels);
}

size_t byte_depthwise_bytes(const struct byte_conv *conv)
{
    return byte_aligned(pair_numbers(conv) * sizeof(int32_t)) + byte_taps_bytes(conv);
}

static const void *fours_of(const struct byte_conv *conv, const void *packed)
{
    return (const char *)packed + byte_aligned(pair_numbers(conv) * sizeof(int32_t));
}

void byte_depthwise_pack(const struct byte_conv *conv, const struct byte_source *source, void *to)
{
    size_t row = byte_padded(conv->channels);
    int32_t *allows = to, *sums = allows + FLAG_NUMBERS, *packed = sums + row;
    *allows = true;
    for (size_t c = 0; c < conv->channels; c++) {
        size_t which = source->zero_count > 1 ? c : 0;
        uint8_t zero = source->zeros ? source->zeros[which] : 0;
        if (zero != (source->is_signed ? 0 : 128))
            *allows = false;
        for (size_t tap = 0; tap < conv->taps; tap++) {
            uint8_t byte = source->bytes[c * source->by_column + tap];
            int32_t w = source->is_signed ? (int8_t)byte - (int8_t)zero : byte - zero;
            int32_t *pair = &packed[tap / 2 * row + c];
            *pair = tap % 2 ? (int32_t)((uint32_t)*pair | (uint32_t)w << 16) : w & 0xffff;
            sums[c] += w;
        }
    }
    byte_taps_pack(conv, source, (void *)(uintptr_t)fours_of(conv, to));
}

void byte_depthwise_start(const struct byte_conv_run *run, const int32_t *bias, int32_t *start)
{
    const int32_t *sums = (const int32_t *)run->packed + FLAG_NUMBERS;
    int32_t zero = run->is_signed ? (int8_t)run->x_zero + 128 : run->x_zero;
    for (size_t c = 0; c < run->conv.channels; c++)
        start[c] = (int32_t)((bias ? (uint32_t)bias[c] : 0) - (uint32_t)zero * (uint32_t)sums[c]);
}

/* A line of zero points. */
size_t byte_depthwise_scratch(const struct byte_conv *conv)
{
    return byte_aligned((size_t)conv->window.in[2] * conv->channels + conv->channels);
}

/* ---- two taps at a time ---------------------------------------------------------------------- */

INLINE vi load_start(const struct byte_conv_run *run, size_t c, size_t left)
{
    int32_t some[VL] = {0};
    if (left >= VL)
        return vi_load(run->result.start + c);
    memcpy(some, run->result.start + c, left * sizeof *some);
    return vi_load(some);
}

/* An odd last tap stands twice. */
INLINE void sum_pairs(const struct byte_places *places, const size_t pairs,
                      const enum md_dtype dtype)
{
    const struct byte_conv_run *run = places->run;
    size_t channels = run->conv.channels, row = byte_padded(channels);
    const int32_t *packed = (const int32_t *)run->packed + FLAG_NUMBERS + row;
    const int32_t flip = run->is_signed ? 0x80 : 0;
    for (size_t c = 0; c < channels; c += VL) {
        size_t left = channels - c;
        vi start = load_start(run, c, left);
        for (size_t i = 0; i < places->count; i++) {
            const size_t x = i * places->x_step + c;
            vi sum = start;
#pragma GCC unroll 5
            for (size_t p = 0; p < pairs; p++) {
                vi a = load_bytes(places->at[2 * p] + x, left, false) ^ flip;
                vi b = load_bytes(places->at[2 * p + 1] + x, left, false) ^ flip;
                sum += multiply_pairs(a | b << 16, *(const vi *)(packed + p * row + c));
            }
            byte_store_vector(&run->result, places->y + i * channels + c, c, sum, left, dtype);
        }
    }
}

static void sum_places(const struct byte_places *places)
{
    const struct byte_conv_run *run = places->run;
    size_t pairs = pairs_of(&run->conv);
    if (run->result.dtype != MD_I32 && *(const int32_t *)run->packed && byte_summing()->dots &&
        byte_taps_sum(places, fours_of(&run->conv, run->packed)))
        return;
    if (run->result.dtype == MD_I32)
        sum_pairs(places, pairs, MD_I32);
    else if (pairs == 5)
        sum_pairs(places, 5, MD_U8);
    else
        sum_pairs(places, pairs, MD_U8);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* Where the taps of the place `o` lie; single ones outside are zero points. */
static void find_taps(const struct byte_conv_run *run, size_t image, const int64_t *o,
                      const uint8_t **at)
{
    const struct md_window *window = &run->conv.window;
    const int64_t *in = window->in, *kernel = window->kernel;
    size_t channels = run->conv.channels;
    int64_t first[3];
    for (int i = 0; i < 3; i++)
        first[i] = o[i] * window->stride[i] - window->before[i];
    for (int64_t a = 0; a < kernel[0]; a++)
        for (int64_t b = 0; b < kernel[1]; b++) {
            int64_t i = first[0] + a * window->dilation[0];
            int64_t j = first[1] + b * window->dilation[1];
            bool inside = i >= 0 && i < in[0] && j >= 0 && j < in[1];
            size_t line = ((image * (size_t)in[0] + (size_t)i) * (size_t)in[1] + (size_t)j);
            const uint8_t *x = inside ? run->x + line * (size_t)in[2] * channels : run->scratch;
            for (int64_t c = 0; c < kernel[2]; c++) {
                int64_t k = first[2] + c * window->dilation[2];
                *at++ = k >= 0 && k < in[2] ? x + (size_t)k * channels : run->scratch;
            }
        }
}

static void run_places(const struct byte_conv_run *run, size_t image, const int64_t *o,
                       size_t count, size_t y)
{
    const uint8_t *at[TAPS_MAX + 4];
    size_t taps = run->conv.taps;
    find_taps(run, image, o, at);
    for (size_t i = 0; i < 3; i++) /* for weights of zero */
        at[taps + i] = at[taps - 1];
    const struct byte_places places = {.run = run,
                                       .at = at,
                                       .count = count,
                                       .x_step =
                                           (size_t)run->conv.window.stride[2] * run->conv.channels,
                                       .y = y};
    sum_places(&places);
}

static int64_t within(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static void run_lines(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct byte_conv_run *run = context;
    const struct md_window *window = &run->conv.window;
    const int64_t *out = window->out;
    int64_t stride = window->stride[2], before = window->before[2];
    int64_t last = window->in[2] - 1 - (window->kernel[2] - 1) * window->dilation[2] + before;
    int64_t inner = within((before + stride - 1) / stride, 0, out[2]);
    int64_t inner_end = within(last < 0 ? 0 : last / stride + 1, inner, out[2]);
    for (size_t line = begin; line < end; line++) {
        size_t image = line / (size_t)(out[0] * out[1]);
        int64_t o[3] = {(int64_t)line / out[1] % out[0], (int64_t)line % out[1], 0};
        while (o[2] < out[2]) {
            bool inside = o[2] >= inner && o[2] < inner_end;
            size_t count = inside ? (size_t)(inner_end - o[2]) : 1;
            run_places(run, image, o, count,
                       (line * (size_t)out[2] + (size_t)o[2]) * run->conv.channels);
            o[2] += (int64_t)count;
        }
    }
}

void byte_depthwise_run(const struct byte_conv_run *run)
{
    const int64_t *out = run->conv.window.out;
    size_t lines = run->conv.batch * (size_t)(out[0] * out[1]);
    size_t cost = (size_t)out[2] * (run->conv.channels / VL + 1) * (run->conv.taps + 4);
    memset(run->scratch, run->x_zero, byte_depthwise_scratch(&run->conv));
    md__parallel(run->pool, lines, md__grain(cost), run_lines, (void *)(uintptr_t)run);
}
