/*
 * Depthwise convolution of bytes with VNNI on 512-bit vectors: 64 channels of four taps are
 * interleaved, so that one instruction adds four products for each of 16 channels.
 *
 * Interleaving stays within 128-bit parts of a vector. Of the four vectors that it gives, number q
 * has in part p and lane l channel 16 p + 4 q + l: weights, starts and factors are put in that
 * order, and narrowing results to bytes undoes it. Up to 12 taps; others go two at a time.
 */
#include "kernels/cpu/isa/int8_depthwise.h"

#if defined(MD_ISA_avx512)

#define WIDTH     64 /* channels */
#define FOURS_MAX 3  /* groups of four taps */

static size_t fours_of(const struct byte_conv *conv)
{
    return (conv->taps + 3) / 4;
}

static size_t channel_of(size_t q, size_t lane)
{
    return lane / 4 * 16 + q * 4 + lane % 4;
}

size_t byte_taps_bytes(const struct byte_conv *conv)
{
    if (fours_of(conv) > FOURS_MAX)
        return 0;
    return (conv->channels + WIDTH - 1) / WIDTH * fours_of(conv) * 4 * WIDTH;
}

/* [64 channels][four taps][q][lane][tap] */
void byte_taps_pack(const struct byte_conv *conv, const struct byte_source *source, void *to)
{
    int8_t *at = to;
    if (fours_of(conv) > FOURS_MAX)
        return;
    for (size_t first = 0; first < conv->channels; first += WIDTH)
        for (size_t four = 0; four < fours_of(conv); four++)
            for (size_t i = 0; i < 4 * WIDTH; i++, at++) {
                size_t channel = first + channel_of(i / WIDTH, i % WIDTH / 4);
                size_t tap = four * 4 + i % 4;
                if (channel < conv->channels && tap < conv->taps)
                    *at = (int8_t)(source->bytes[channel * source->by_column + tap] ^
                                   (source->is_signed ? 0 : 0x80));
            }
}

/* Numbers of 64 channels, or the first `left`, in the order of interleaved sums. */
INLINE void spread(const void *numbers, size_t left, vi to[4])
{
    __m512i part[4];
#pragma GCC unroll 4
    for (size_t p = 0; p < 4; p++) {
        size_t some = left > 16 * p ? left - 16 * p : 0;
        __mmask16 mask = (__mmask16)(some >= VL ? 0xffff : (1u << some) - 1);
        part[p] = _mm512_maskz_loadu_epi32(mask, (const int32_t *)numbers + 16 * p);
    }
    __m512i a = _mm512_shuffle_i32x4(part[0], part[1], 0x44);
    __m512i b = _mm512_shuffle_i32x4(part[2], part[3], 0x44);
    __m512i c = _mm512_shuffle_i32x4(part[0], part[1], 0xee);
    __m512i d = _mm512_shuffle_i32x4(part[2], part[3], 0xee);
    to[0] = (vi)_mm512_shuffle_i32x4(a, b, 0x88);
    to[1] = (vi)_mm512_shuffle_i32x4(a, b, 0xdd);
    to[2] = (vi)_mm512_shuffle_i32x4(c, d, 0x88);
    to[3] = (vi)_mm512_shuffle_i32x4(c, d, 0xdd);
}

INLINE __m512i load_taps(const uint8_t *p, __mmask64 mask, const __m512i flip)
{
    return _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, p), flip);
}

/* Adds four taps of 64 channels. */
INLINE void add_four(const uint8_t *const *at, size_t x, __mmask64 mask, const __m512i flip,
                     const vi *w, vi sum[4])
{
    __m512i a = load_taps(at[0] + x, mask, flip), b = load_taps(at[1] + x, mask, flip);
    __m512i c = load_taps(at[2] + x, mask, flip), d = load_taps(at[3] + x, mask, flip);
    __m512i low_ab = _mm512_unpacklo_epi8(a, b), high_ab = _mm512_unpackhi_epi8(a, b);
    __m512i low_cd = _mm512_unpacklo_epi8(c, d), high_cd = _mm512_unpackhi_epi8(c, d);
    sum[0] = dot_bytes(sum[0], (vi)_mm512_unpacklo_epi16(low_ab, low_cd), w[0]);
    sum[1] = dot_bytes(sum[1], (vi)_mm512_unpackhi_epi16(low_ab, low_cd), w[1]);
    sum[2] = dot_bytes(sum[2], (vi)_mm512_unpacklo_epi16(high_ab, high_cd), w[2]);
    sum[3] = dot_bytes(sum[3], (vi)_mm512_unpackhi_epi16(high_ab, high_cd), w[3]);
}

INLINE __m512i narrowed(const struct byte_result *result, const vi sum[4], const vi scale[4])
{
    __m512i levels[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        vf value = vi_to_float(sum[q]) * (vf)scale[q];
        value = vmin(vmax(value, splat(result->low)), splat(result->high));
        levels[q] = (__m512i)((vf_round(value) + result->zero) & 0xff);
    }
    return _mm512_packus_epi16(_mm512_packus_epi32(levels[0], levels[1]),
                               _mm512_packus_epi32(levels[2], levels[3]));
}

INLINE void sum_fours(const struct byte_places *places, const vi *w, const size_t fours)
{
    const struct byte_conv_run *run = places->run;
    size_t channels = run->conv.channels;
    const __m512i flip = _mm512_set1_epi8(run->is_signed ? -128 : 0);
    for (size_t first = 0; first < channels; first += WIDTH, w += 4 * fours) {
        size_t left = channels - first;
        __mmask64 mask = left >= WIDTH ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
        uint8_t *y = (uint8_t *)run->result.y + places->y + first;
        vi start[4], scale[4];
        spread(run->result.start + first, left, start);
        spread(run->result.scale + first, left, scale);
        for (size_t i = 0; i < places->count; i++) {
            vi sum[4] = {start[0], start[1], start[2], start[3]};
#pragma GCC unroll 3
            for (size_t four = 0; four < fours; four++)
                add_four(places->at + 4 * four, i * places->x_step + first, mask, flip,
                         w + 4 * four, sum);
            _mm512_mask_storeu_epi8(y + i * channels, mask, narrowed(&run->result, sum, scale));
        }
    }
}

bool byte_taps_sum(const struct byte_places *places, const void *packed)
{
    size_t fours = fours_of(&places->run->conv);
    if (fours > FOURS_MAX)
        return false;
    if (fours == 3)
        sum_fours(places, packed, 3);
    else
        sum_fours(places, packed, fours);
    return true;
}

#else

size_t byte_taps_bytes(const struct byte_conv *conv)
{
    (void)conv;
    return 0;
}

void byte_taps_pack(const struct byte_conv *conv, const struct byte_source *source, void *to)
{
    (void)conv, (void)source, (void)to;
}

bool byte_taps_sum(const struct byte_places *places, const void *packed)
{
    (void)places, (void)packed;
    return false;
}

#endif
