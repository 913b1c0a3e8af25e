/*
 * Texts of float32 in vectors of 64-bit lanes, a number a lane.
 *
 * The shortest decimal is found as in R. Giulietti, "The Schubfach way to render doubles" (2021),
 * with the proof's constants for binary32: a number c * 2^q and the midpoints to its neighbours are
 * scaled by 10^-k, k chosen so that the interval between them is 1 to 10 units wide. Its ends are
 * rounded to odd, which keeps every comparison with an integer exact; then either one multiple of
 * ten lies inside, or the nearest integer is the answer. Numbers of a few decimals are a product
 * with a power of ten, exact in a double, rounded by adding 2^52: ties to even, as printf does.
 *
 * Either way a number ends as up to nine digits, a byte each, and the place of its point. From
 * these a row of `layouts` makes the text in one shuffle. There is no branch that depends on a
 * value but one: a vector with a number out of the usual range (below 1e-4, from 1e9 or 9999 on,
 * not finite) is left to the functions for one number, which tests also compare this with.
 */
#include "base/isa/numbers.h"

#include <stdint.h>
#include <string.h>

#include "base/f64text.h"
#include "base/isa/isa.h"

#define LANES (VECTOR_BYTES / 8)

typedef uint64_t vu __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int64_t vi __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef double vd __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef uint16_t vh __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef uint32_t half_u __attribute__((vector_size(VECTOR_BYTES / 2), aligned(4), may_alias));
typedef float half_f __attribute__((vector_size(VECTOR_BYTES / 2), aligned(4), may_alias));

/* ---- what the vector extensions cannot say --------------------------------------------------- */

/* Products of the low halves of the lanes. */
INLINE vu multiply(vu a, vu b)
{
#if defined(MD_ISA_avx512)
    return (vu)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(MD_ISA_avx2)
    return (vu)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (vu)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
#endif
}

/* High halves of products of 16-bit lanes. */
INLINE vh multiply_high(vh a, uint16_t b)
{
    vh all = b - (vh){0};
#if defined(MD_ISA_avx512)
    return (vh)_mm512_mulhi_epu16((__m512i)a, (__m512i)all);
#elif defined(MD_ISA_avx2)
    return (vh)_mm256_mulhi_epu16((__m256i)a, (__m256i)all);
#elif defined(__SSE2__)
    return (vh)_mm_mulhi_epu16((__m128i)a, (__m128i)all);
#else
    for (size_t i = 0; i < sizeof a / sizeof a[0]; i++)
        a[i] = (uint16_t)((uint32_t)a[i] * all[i] >> 16);
    return a;
#endif
}

/* How many bytes of each lane are not zero, each of them at most 9. */
INLINE vu count_bytes(vu bytes)
{
#if defined(MD_ISA_avx512)
    __m512i ones = _mm512_min_epu8((__m512i)bytes, _mm512_set1_epi8(1));
    return (vu)_mm512_sad_epu8(ones, _mm512_setzero_si512());
#elif defined(MD_ISA_avx2)
    __m256i ones = _mm256_min_epu8((__m256i)bytes, _mm256_set1_epi8(1));
    return (vu)_mm256_sad_epu8(ones, _mm256_setzero_si256());
#else
    vu ones = (bytes + 0x7F7F7F7F7F7F7F7F) >> 7 & 0x0101010101010101;
    ones += ones >> 32;
    ones += ones >> 16;
    ones += ones >> 8;
    return ones & 15;
#endif
}

/* table[index] in each lane; the table has 16 entries. */
INLINE vu look_up(const uint64_t *table, vu index)
{
#if defined(MD_ISA_avx512)
    return (vu)_mm512_permutex2var_epi64(_mm512_loadu_si512(table), (__m512i)index,
                                         _mm512_loadu_si512(table + 8));
#elif defined(MD_ISA_avx2)
    return (vu)_mm256_i64gather_epi64((const long long *)table, (__m256i)index, 8);
#else
    for (int i = 0; i < LANES; i++)
        index[i] = table[index[i]];
    return index;
#endif
}

INLINE bool any(vi mask)
{
#if defined(MD_ISA_avx512)
    return _mm512_movepi64_mask((__m512i)mask) != 0;
#elif defined(MD_ISA_avx2)
    return _mm256_movemask_pd((__m256d)mask) != 0;
#else
    int64_t found = 0;
    for (int i = 0; i < LANES; i++)
        found |= mask[i];
    return found != 0;
#endif
}

/* mask lanes are all ones or all zeros, as comparisons make them. */
INLINE vu choose(vi mask, vu a, vu b)
{
    return (a & (vu)mask) | (b & ~(vu)mask);
}

/* x / 10 for x < 2^32. */
INLINE vu tenth(vu x)
{
    return multiply(x, (vu){0} + 0xCCCCCCCD) >> 35;
}

INLINE vu tenfold(vu x)
{
    return (x << 3) + (x << 1);
}

/* ---- digits ---------------------------------------------------------------------------------- */

/* Numbers between arithmetic and text: 0.DDDDDDDDD * 10^point. */
struct figures {
    vu digits;   /* the first eight, one a byte, the first lowest */
    vu last;     /* the ninth */
    vu point;    /* -3 .. 9, plus 3 */
    vu negative; /* 0 or 1 */
};

/* The eight decimal digits of x < 10^8 as bytes, the first lowest. */
INLINE vu eight_digits(vu x)
{
    vu first = multiply(x, (vu){0} + 109951163) >> 40; /* x / 10^4 */
    vu fours = first | (x - multiply(first, (vu){0} + 10000)) << 32;
    vh hundreds = multiply_high((vh)fours, 5243) >> 3; /* of 16-bit lanes, every other one 0 */
    vu twos = (vu)hundreds | (vu)((vh)fours - hundreds * 100) << 16;
    vh tens = (vh)twos * 103 >> 10;
    return (vu)tens | (vu)((vh)twos - tens * 10) << 8;
}

enum { BIAS = 150, K_BIAS = 12 }; /* of q in the exponent's bits; of k in the tables below */

/* 10^-k for k = -12 .. 1, the first 64 bits, rounded up where they do not suffice. */
static const uint64_t powers[16] = {
    0xE8D4A51000000000, 0xBA43B74000000000, 0x9502F90000000000, 0xEE6B280000000000,
    0xBEBC200000000000, 0x9896800000000000, 0xF424000000000000, 0xC350000000000000,
    0x9C40000000000000, 0xFA00000000000000, 0xC800000000000000, 0xA000000000000000,
    0x8000000000000000, 0xCCCCCCCCCCCCCCCD,
};
/* floor(log2(10^-k)) + 1, plus 8 to stay positive. */
static const uint64_t power_bits[16] = {48, 45, 42, 38, 35, 32, 28, 25, 22, 18, 15, 12, 9, 5};

/* power * cp / 2^64 rounded to odd; cp < 2^32. */
INLINE vu round_to_odd(vu power, vu power_high, vu cp)
{
    vu product = (multiply(power, cp) >> 32) + multiply(power_high, cp);
    vu rest = (product & 0xFFFFFFFF) + 0xFFFFFFFE; /* carries when the rest is more than one */
    return product >> 32 | rest >> 32;
}

/* bits: of numbers from 1e-4 to below 1e9, or 0. */
INLINE struct figures shortest(vu bits)
{
    vu size = bits & 0x7FFFFFFF, exponent = size >> 23, fraction = size & 0x7FFFFF;
    vi is_zero = size == 0;
    exponent = choose(is_zero, (vu){0} + BIAS, exponent);
    vu c = fraction | 0x800000;
    vu closer = (vu)(fraction == 0) & 1; /* the neighbour below is at half the distance */
    /* k = floor(log10(2^q)), of 3/4 * 2^q where the neighbour below is closer */
    vu k = (multiply(exponent, (vu){0} + 1262611) - multiply(closer, (vu){0} + 524031) -
            (BIAS * (uint64_t)1262611 - ((uint64_t)K_BIAS << 22))) >>
           22;
    vu power = look_up(powers, k), power_high = power >> 32;
    vu h = exponent + look_up(power_bits, k) - (BIAS + 8);
    vu odd = c & 1, cb = c << 2;
    vu middle = round_to_odd(power, power_high, cb << h);
    vu low = round_to_odd(power, power_high, (cb - 2 + closer) << h) + odd;
    vu high = round_to_odd(power, power_high, (cb + 2) << h) - odd;

    vu s = middle >> 2, ten = tenth(s), ten_units = (ten << 5) + (ten << 3);
    vi ten_inside = (vi)low <= (vi)ten_units, next_ten_inside = (vi)(ten_units + 40) <= (vi)high;
    vu down = middle & ~(uint64_t)3;
    vi down_inside = (vi)low <= (vi)down, up_inside = (vi)(down + 4) <= (vi)high;
    vi nearest_up = (vi)((middle & 3) + (s & 1)) > 2;
    vi up = (vi)choose(down_inside ^ up_inside, (vu)up_inside, (vu)nearest_up);
    vu number =
        choose(ten_inside ^ next_ten_inside, tenfold(ten - (vu)next_ten_inside), s - (vu)up);

    /* Seven to nine digits: to nine, so that all begin alike. */
    vi has_nine = (vi)number >= 100000000, has_eight = (vi)number >= 10000000;
    vu nine =
        choose(has_nine, number, choose(has_eight, tenfold(number), tenfold(tenfold(number))));
    nine = choose(is_zero, (vu){0}, nine);
    vu first = tenth(nine);
    vu point = k + (7 - K_BIAS + 3) - (vu)has_nine - (vu)has_eight;
    return (struct figures){
        .digits = eight_digits(first),
        .last = nine - tenfold(first),
        .point = choose(is_zero, (vu){0} + (1 + 3), point),
        .negative = bits >> 31,
    };
}

static const double scales[5] = {1, 10, 100, 1000, 10000};
static const uint64_t fillers[5] = {10000, 1000, 100, 10, 1};

/* values: from -9999 to 9999 exclusive. */
INLINE struct figures rounded(vu bits, half_f values, int decimals)
{
    vd value = __builtin_convertvector(values, vd);
    vd size = (vd)((vu)value & 0x7FFFFFFFFFFFFFFF);
    vu whole = (vu)(size * scales[decimals] + 0x1p52) & 0xFFFFFFFF;
    vu number = multiply(whole, (vu){0} + fillers[decimals]); /* ten-thousandths */
    /* Four digits before the point, of which up to three zeros go. */
    vu zeros = (vu)((vi)number < 10000000) + (vu)((vi)number < 1000000) + (vu)((vi)number < 100000);
    return (struct figures){
        .digits = eight_digits(number) >> (-zeros << 3),
        .last = (vu){0},
        .point = zeros + (4 + 3),
        .negative = bits >> 31 & (vu)(number != 0),
    };
}

/* ---- text ------------------------------------------------------------------------------------ */

/*
 * Where each byte of a text comes from, for each place of the point, positive and negative. The low
 * four bits of a character say which of the sixteen source bytes: 0 to 8 are digits, z a zero, and
 * the signs stand where their codes do.
 */
static const char layouts[26][16] = {
    ",z.zzz012345678", ",-z.zzz012345678", ",z.zz012345678", ",-z.zz012345678", ",z.z012345678",
    ",-z.z012345678",  ",z.012345678",     ",-z.012345678",  ",0.12345678",     ",-0.12345678",
    ",01.2345678",     ",-01.2345678",     ",012.345678",    ",-012.345678",    ",0123.45678",
    ",-0123.45678",    ",01234.5678",      ",-01234.5678",   ",012345.678",     ",-012345.678",
    ",0123456.78",     ",-0123456.78",     ",01234567.8",    ",-01234567.8",    ",012345678",
    ",-012345678",
};

#define SOURCE_DIGITS 0x3030303030303030
#define SOURCE_REST   0x002E2D2C00300030 /* the ninth digit, 'z', ',', '-', '.' */

/* Writes sixteen bytes, of which the caller keeps the first. */
INLINE void write_piece(char *text, const uint64_t *source, size_t layout)
{
#if defined(MD_ISA_avx512) || defined(MD_ISA_avx2)
    __m128i piece = _mm_shuffle_epi8(_mm_load_si128((const __m128i *)source),
                                     _mm_loadu_si128((const __m128i *)layouts[layout]));
    _mm_storeu_si128((__m128i *)text, piece);
#else
    char bytes[16];
    memcpy(bytes, source, sizeof bytes);
    for (int i = 0; i < 16; i++)
        text[i] = bytes[layouts[layout][i] & 15];
#endif
}

/* Sixteen bytes for each lane, lane after lane. */
INLINE void interleave(vu digits, vu rest, uint64_t *source)
{
#if defined(MD_ISA_avx512)
    __m512i even = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    __m512i odd = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    _mm512_store_si512(source, _mm512_permutex2var_epi64((__m512i)digits, even, (__m512i)rest));
    _mm512_store_si512(source + 8, _mm512_permutex2var_epi64((__m512i)digits, odd, (__m512i)rest));
#else
    for (int i = 0; i < LANES; i++) {
        source[2 * i] = digits[i];
        source[2 * i + 1] = rest[i];
    }
#endif
}

INLINE char *write_figures(const struct figures *figures, char *text)
{
    uint64_t source[2 * LANES] __attribute__((aligned(64)));
    uint64_t layout[LANES] __attribute__((aligned(64))), length[LANES] __attribute__((aligned(64)));
    /* A digit has significant ones behind it if any later byte is set; zeros at the end go. */
    vu tail = figures->digits;
    tail |= tail >> 8;
    tail |= tail >> 16;
    tail |= tail >> 32;
    vu count = choose(figures->last != 0, (vu){0} + 9, count_bytes(tail)) + 3;
    vu point = figures->point;
    vu inside = choose((vi)count > (vi)point, count + 1, point) - 3;
    vu below = count + 2 - point; /* "0." and zeros come first */
    vu size = choose((vi)point > 3, inside, below) + 1 + figures->negative;
    interleave(figures->digits + SOURCE_DIGITS, figures->last + SOURCE_REST, source);
    *(vu *)layout = point << 1 | figures->negative;
    *(vu *)length = size;
    for (int i = 0; i < LANES; i++) {
        write_piece(text, source + 2 * i, layout[i]);
        text += length[i];
    }
    return text;
}

static char *write_one_by_one(const float *values, size_t count, int decimals, char *text)
{
    for (size_t i = 0; i < count; i++) {
        *text++ = ',';
        text += decimals < 0 ? md_f32_text(values[i], text)
                             : md_f32_text_rounded(values[i], decimals, text);
    }
    return text;
}

#define BITS_OF_1E_4 0x38D1B717
#define BITS_OF_1E9  0x4E6E6B28
#define BITS_OF_9999 0x461C3C00

INLINE char *write_shortest(const float *values, size_t count, char *text)
{
    for (size_t i = 0; i + LANES <= count; i += LANES) {
        vu bits = __builtin_convertvector(*(const half_u *)(values + i), vu);
        vi size = (vi)(bits & 0x7FFFFFFF);
        if (any(((size < BITS_OF_1E_4) & (size != 0)) | (size >= BITS_OF_1E9))) {
            text = write_one_by_one(values + i, LANES, -1, text);
            continue;
        }
        struct figures figures = shortest(bits);
        text = write_figures(&figures, text);
    }
    return write_one_by_one(values + count / LANES * LANES, count % LANES, -1, text);
}

INLINE char *write_rounded(const float *values, size_t count, int decimals, char *text)
{
    for (size_t i = 0; i + LANES <= count; i += LANES) {
        vu bits = __builtin_convertvector(*(const half_u *)(values + i), vu);
        if (any((vi)(bits & 0x7FFFFFFF) >= BITS_OF_9999)) {
            text = write_one_by_one(values + i, LANES, decimals, text);
            continue;
        }
        struct figures figures = rounded(bits, *(const half_f *)(values + i), decimals);
        text = write_figures(&figures, text);
    }
    return write_one_by_one(values + count / LANES * LANES, count % LANES, decimals, text);
}

char *MD_ISA_SYMBOL(md__f32s_text)(const float *values, size_t count, int decimals, char *text)
{
    if (decimals < 0)
        return write_shortest(values, count, text);
    if (decimals <= 4 && LANES > 2)
        return write_rounded(values, count, decimals, text);
    return write_one_by_one(values, count, decimals, text);
}
