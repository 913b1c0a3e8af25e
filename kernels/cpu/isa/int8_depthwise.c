/*
 * Depthwise convolution of bytes: channels in lanes, two taps at a time as 16-bit numbers that are
 * multiplied and added in pairs. Weights are packed less their zero points, [pair of taps][channels
 * padded] of two 16-bit numbers; x is made unsigned on the way.
 *
 * A tap outside the image reads a line of zero points, so that every place has all taps and the
 * same correction.
 */
#include "kernels/cpu/isa/int8_conv.h"

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

/* Sums of the weights of each channel come first. */
size_t byte_depthwise_bytes(const struct byte_conv *conv)
{
    return (1 + pairs_of(conv)) * byte_padded(conv->channels) * sizeof(int32_t);
}

void byte_depthwise_pack(const struct byte_conv *conv, const struct byte_source *source, void *to)
{
    int32_t *sums = to, *packed = sums + byte_padded(conv->channels);
    for (size_t c = 0; c < conv->channels; c++) {
        size_t which = source->zero_count > 1 ? c : 0;
        uint8_t zero = source->zeros ? source->zeros[which] : 0;
        for (size_t tap = 0; tap < conv->taps; tap++) {
            uint8_t byte = source->bytes[c * source->by_column + tap];
            int32_t w = source->is_signed ? (int8_t)byte - (int8_t)zero : byte - zero;
            int32_t *pair = &packed[tap / 2 * byte_padded(conv->channels) + c];
            *pair = tap % 2 ? (int32_t)((uint32_t)*pair | (uint32_t)w << 16) : w & 0xffff;
            sums[c] += w;
        }
    }
}

void byte_depthwise_start(const struct byte_conv_run *run, const int32_t *bias, int32_t *start)
{
    const int32_t *sums = run->packed;
    int32_t zero = run->is_signed ? (int8_t)run->x_zero + 128 : run->x_zero;
    for (size_t c = 0; c < run->conv.channels; c++)
        start[c] = (int32_t)((bias ? (uint32_t)bias[c] : 0) - (uint32_t)zero * (uint32_t)sums[c]);
}

size_t byte_depthwise_scratch(const struct byte_conv *conv)
{
    return byte_padded(conv->channels);
}

INLINE vi multiply_pairs(vi a, vi b)
{
#if defined(MD_ISA_avx512)
    return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(MD_ISA_avx2)
    return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

/* One place, all channels: tap t of channel c is at[t][c]. An odd last tap stands twice. */
INLINE void sum_place(const struct byte_conv_run *run, const uint8_t *const *at, size_t y,
                      const size_t pairs, const enum md_dtype dtype)
{
    size_t channels = run->conv.channels, row = byte_padded(channels);
    const int32_t *packed = (const int32_t *)run->packed + row;
    const int32_t flip = run->is_signed ? 0x80 : 0;
    for (size_t c = 0; c < channels; c += VL) {
        size_t left = channels - c;
        vi sum = vi_splat(0);
        if (left < VL) {
            int32_t some[VL] = {0};
            memcpy(some, run->result.start + c, left * sizeof *some);
            sum = vi_load(some);
        } else {
            sum = vi_load(run->result.start + c);
        }
#pragma GCC unroll 5
        for (size_t p = 0; p < pairs; p++) {
            vi a = load_bytes(at[2 * p] + c, left, false) ^ flip;
            vi b = load_bytes(at[2 * p + 1] + c, left, false) ^ flip;
            sum += multiply_pairs(a | b << 16, *(const vi *)(packed + p * row + c));
        }
        byte_store_vector(&run->result, y + c, c, sum, left, dtype);
    }
}

INLINE void sum_any(const struct byte_conv_run *run, const uint8_t *const *at, size_t y,
                    const enum md_dtype dtype)
{
    if (run->conv.taps == 9)
        sum_place(run, at, y, 5, dtype);
    else
        sum_place(run, at, y, pairs_of(&run->conv), dtype);
}

/* The pixel under each tap of a place. */
static void find_taps(const struct byte_conv_run *run, size_t image, const int64_t *o,
                      const uint8_t **at)
{
    const struct md_window *window = &run->conv.window;
    const int64_t *in = window->in, *kernel = window->kernel;
    int64_t first[3];
    for (int i = 0; i < 3; i++)
        first[i] = o[i] * window->stride[i] - window->before[i];
    for (int64_t a = 0; a < kernel[0]; a++)
        for (int64_t b = 0; b < kernel[1]; b++)
            for (int64_t c = 0; c < kernel[2]; c++, at++) {
                int64_t i = first[0] + a * window->dilation[0];
                int64_t j = first[1] + b * window->dilation[1];
                int64_t k = first[2] + c * window->dilation[2];
                bool inside = i >= 0 && i < in[0] && j >= 0 && j < in[1] && k >= 0 && k < in[2];
                int64_t pixel = ((int64_t)image * in[0] + i) * in[1] + j;
                *at = inside ? run->x + (size_t)(pixel * in[2] + k) * run->conv.channels
                             : run->scratch;
            }
}

static void run_lines(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct byte_conv_run *run = context;
    const int64_t *out = run->conv.window.out;
    size_t taps = run->conv.taps;
    const uint8_t *at[TAPS_MAX + 1];
    for (size_t line = begin; line < end; line++) {
        size_t image = line / (size_t)(out[0] * out[1]);
        int64_t o[3] = {(int64_t)line / out[1] % out[0], (int64_t)line % out[1], 0};
        for (; o[2] < out[2]; o[2]++) {
            size_t y = (line * (size_t)out[2] + (size_t)o[2]) * run->conv.channels;
            find_taps(run, image, o, at);
            at[taps] = at[taps - 1];
            if (run->result.dtype == MD_I32)
                sum_any(run, at, y, MD_I32);
            else
                sum_any(run, at, y, MD_U8);
        }
    }
}

void byte_depthwise_run(const struct byte_conv_run *run)
{
    const int64_t *out = run->conv.window.out;
    size_t lines = run->conv.batch * (size_t)(out[0] * out[1]);
    size_t cost = (size_t)out[2] * (run->conv.channels / VL + 1) * (run->conv.taps + 4) * 2;
    memset(run->scratch, run->x_zero, run->conv.channels);
    md__parallel(run->pool, lines, md__grain(cost), run_lines, (void *)(uintptr_t)run);
}
